"""Tickers go on after a failure of the database and tell of it once."""

import asyncio
import logging

import pytest

from server.auth.ticker import Ticker
from server.core.errors import Unavailable


async def test_a_failure_is_logged_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    outcomes = [None, Unavailable(), Unavailable(), None, Unavailable()]
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1
        if (error := outcomes[done - 1]) is not None:
            raise error

    ticker = Ticker("test", 3600, work)
    with caplog.at_level(logging.WARNING):
        for _ in outcomes:
            await ticker.tick()
    assert done == 5
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_a_mistake_ends_it_loudly(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    ticker = Ticker("test", 0, work)
    ticker.start()
    for _ in range(100):
        await asyncio.sleep(0)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    await ticker.stop()


async def test_it_stops_in_the_middle_of_a_tick() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    ticker = Ticker("test", 0, work)
    ticker.start()
    await begun.wait()
    await asyncio.wait_for(ticker.stop(), 1)
