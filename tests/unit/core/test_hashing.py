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
