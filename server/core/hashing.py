"""Password hashes: slow on purpose, so they have threads and a queue of their own."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.core.errors import ResourceExhausted

T = TypeVar("T")

NICENESS = 5
"""How much the hash threads stand back (Linux): log-ins must not starve reads."""


class HashingBusy(ResourceExhausted):
    """As many passwords wait to be hashed as may."""

    reason = "AUTH_ERROR_REASON_HASHING_BUSY"
    message = "Too many log-ins at the moment; try again shortly."


class HashPool:
    """Runs hashes in as many threads as there are cores; refuses at once when too many wait."""

    def __init__(self, workers: int, queue_limit: int) -> None:
        self._threads = ThreadPoolExecutor(workers, "hash", initializer=_stand_back)
        self._limit = workers + queue_limit
        self._in_flight = 0
        self._workers = workers
        self.started = 0
        """Hashes handed to a thread since the start; tests hold known and unknown users to it."""

    @property
    def waiting(self) -> int:
        """Hashes that wait for a thread."""
        return max(0, self._in_flight - self._workers)

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """The function's result, from a hash thread; ``HashingBusy`` when the queue is full.

        A caller that is cancelled leaves its hash running; its place is free when that has ended.
        """
        if self._in_flight >= self._limit:
            raise HashingBusy(retry_after=2.0)
        loop = asyncio.get_running_loop()
        running = self._threads.submit(function, *arguments)
        self._in_flight += 1
        self.started += 1

        def ended(_future: object) -> None:
            # The loop may be closed when a hash outlives its server.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._leave)

        running.add_done_callback(ended)
        return await asyncio.shield(asyncio.wrap_future(running))

    def close(self) -> None:
        """Ends the threads; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self._in_flight -= 1


def _stand_back() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
