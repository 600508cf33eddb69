"""Waiting for a quiet loop: until it is, and not for ever."""

import asyncio
import time

import pytest

from server.core import quiet
from server.core.quiet import until_quiet


async def test_an_idle_loop_is_quiet_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "LONGEST_WAIT_SECONDS", 60)
    async with asyncio.timeout(5):
        await until_quiet()


async def test_a_busy_loop_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "LONGEST_WAIT_SECONDS", 60)
    turns = 0

    async def works() -> None:
        nonlocal turns
        for _ in range(20):
            end = time.perf_counter() + 10 * quiet.QUIET_SECONDS
            while time.perf_counter() < end:
                pass
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(works())
    await until_quiet()
    assert turns == 20
    await busy


async def test_a_loop_that_never_is_quiet_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quiet, "QUIET_SECONDS", 0)
    async with asyncio.timeout(5):
        await until_quiet()
