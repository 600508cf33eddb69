"""Password hashes: bounded, and a place is taken until its hash has ended."""

import asyncio
import threading

import pytest

from server.core.hashing import HashingBusy, HashPool


async def test_more_than_may_wait_are_refused_at_once() -> None:
    pool = HashPool(1, 1)
    release = threading.Event()
    running = [asyncio.ensure_future(pool.run(release.wait, 10)) for _ in range(2)]
    await asyncio.sleep(0)
    assert pool.waiting == 1
    with pytest.raises(HashingBusy):
        await pool.run(int)
    running[0].cancel()
    await asyncio.gather(running[0], return_exceptions=True)
    with pytest.raises(HashingBusy):
        await pool.run(int)
    release.set()
    assert await running[1]
    async with asyncio.timeout(10):
        while pool.waiting:
            await asyncio.sleep(0.005)
    assert await pool.run(int, "7") == 7
    assert pool.started == 3
    pool.close()


async def test_a_place_is_free_when_it_is_left_and_its_last_hash_has_ended() -> None:
    pool = HashPool(1, 0)
    release = threading.Event()
    with pool.place() as place:
        with pytest.raises(HashingBusy):
            await pool.run(int)
        assert await place.run(int, "7") == 7
        assert await place.run(int, "8") == 8
        going = asyncio.ensure_future(place.run(release.wait, 10))
        await asyncio.sleep(0)
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
    assert pool.taken == 1
    release.set()
    async with asyncio.timeout(10):
        while pool.taken:
            await asyncio.sleep(0.005)
    assert await pool.run(int, "9") == 9
    pool.close()


async def test_a_place_whose_block_fails_is_free() -> None:
    pool = HashPool(1, 0)
    with pytest.raises(ZeroDivisionError), pool.place() as place:
        await place.run(divmod, 1, 0)
    async with asyncio.timeout(10):
        while pool.taken:
            await asyncio.sleep(0.005)
    pool.close()
