"""Password hashes: slow on purpose, so they have threads and a queue of their own."""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
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
        self._workers = workers
        self.taken = 0
        """Places that somebody has."""
        self.started = 0
        """Hashes handed to a thread since the start; tests hold known and unknown users to it."""

    @property
    def waiting(self) -> int:
        """Places that are taken beyond the threads."""
        return max(0, self.taken - self._workers)

    @contextlib.contextmanager
    def place(self) -> Iterator["Place"]:
        """A place for hashes, one after the other, until the block is left; ``HashingBusy`` when
        none is free. Taken before anything is written for a hash, it keeps those who would be
        refused from the database."""
        if self.taken >= self._limit:
            raise HashingBusy(retry_after=2.0)
        place = Place(self, self._threads)
        try:
            yield place
        finally:
            place.leave()

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """The function's result, from a hash thread; ``HashingBusy`` when no place is free."""
        with self.place() as place:
            return await place.run(function, *arguments)

    def close(self) -> None:
        """Ends the threads; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Place:
    """A place in a pool: taken until it is left and its last hash has ended, so that callers who go
    away do not let in more than there are threads for."""

    def __init__(self, pool: HashPool, threads: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._threads = threads
        self._holders = 1
        pool.taken += 1

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """The function's result, from a hash thread. A caller that is cancelled leaves it running."""
        loop = asyncio.get_running_loop()
        running = self._threads.submit(function, *arguments)
        self._holders += 1
        self._pool.started += 1

        def ended(_future: object) -> None:
            # The loop may be closed when a hash outlives its server.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self.leave)

        running.add_done_callback(ended)
        return await asyncio.shield(asyncio.wrap_future(running))

    def leave(self) -> None:
        """One holder less; without any the place is free."""
        self._holders -= 1
        if self._holders == 0:
            self._pool.taken -= 1


def _stand_back() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
