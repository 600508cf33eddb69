"""Waiting for a moment in which the loop has nothing to do."""

import asyncio
import time

QUIET_SECONDS = 0.00003
QUIET_TURNS = 3
"""The loop is quiet when so many of its turns in a row take no longer; an idle one takes a tenth of it."""
LONGEST_WAIT_SECONDS = 0.01
"""Nobody waits longer than this for a moment that may not come."""


async def until_quiet() -> None:
    """Returns once the loop has nothing else to do, or after a while.

    What another thread does beside a busy loop costs both: with each change of threads (the GIL) as much as
    several calls. Whoever gathers work for a thread lets it gather for so long.
    """
    turns, now = 0, time.perf_counter()
    end = now + LONGEST_WAIT_SECONDS
    while turns < QUIET_TURNS and now < end:
        await asyncio.sleep(0)
        before, now = now, time.perf_counter()
        turns = turns + 1 if now - before < QUIET_SECONDS else 0
