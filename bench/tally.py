"""What all load programs share: calls kept in flight, and deliveries counted between two lines."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

LATE_SECONDS = 20.0
"""How long deliveries may take to arrive once the last send was answered."""


async def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition holds within some seconds. It may depend on what comes 100,000 times a
    second, so it is looked at now and then."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not (holds := condition()) and loop.time() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return holds


class Flood(Generic[Key]):
    """Keeps calls in flight for ``options.seconds``, or until ``options.calls`` have been begun.

    ``start(connection)`` begins a call and says by what key its end will be told.
    """

    def __init__(self, options: argparse.Namespace, start: Callable[[int], Key]) -> None:
        self._start = start
        self._seconds = options.seconds
        self._calls = options.calls
        self._begun = 0
        self._under_way: dict[tuple[int, Key], float] = {}
        self._latencies: list[float] = []
        self._end = 0.0
        self._finished = asyncio.get_running_loop().create_future()

    def ended(self, connection: int, key: Key) -> None:
        """A call has its reply; the next one takes its place."""
        now = time.perf_counter()
        self._latencies.append(now - self._under_way.pop((connection, key)))
        if now < self._end and self._begun < self._calls:
            self._begin(connection)
        elif not self._under_way and not self._finished.done():
            self._finished.set_result(None)

    async def run(
        self, starts: Iterable[int], lost: Iterable["asyncio.Future[Any]"]
    ) -> dict[str, Any]:
        """Begins a call on each of the connections named; the figures when all have ended."""
        began, cpu = time.perf_counter(), time.process_time()
        self._end = began + self._seconds
        for connection in starts:
            if self._begun < self._calls:
                self._begin(connection)
        done, _ = await asyncio.wait(
            [self._finished, *lost],
            timeout=self._seconds + 30,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._finished not in done:
            for future in done:
                future.result()  # Raises what was wrong, if that is known.
            raise RuntimeError("the server did not answer to the end")
        elapsed = time.perf_counter() - began
        latencies = sorted(self._latencies)
        return {
            "calls": len(latencies),
            "per_second": len(latencies) / elapsed,
            "p50_ms": 1000 * latencies[len(latencies) // 2],
            "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
            "client_cores": (time.process_time() - cpu) / elapsed,
        }

    def _begin(self, connection: int) -> None:
        self._begun += 1
        began = time.perf_counter()
        self._under_way[connection, self._start(connection)] = began


class Tally:
    """Counts deliveries, and knows when the first and the last one came."""

    def __init__(self) -> None:
        self.counted = 0
        self._first = 0.0
        self._last = 0.0

    def add(self, count: int) -> None:
        """So many have come."""
        if count:
            self._last = time.perf_counter()
            self._first = self._first or self._last
            self.counted += count

    async def between_lines(self, broken: Callable[[], bool]) -> dict[str, Any]:
        """What comes after the first line on standard input; the second one says how many must.

        The rate is taken from the first to the last delivery, so that neither the start of the
        senders nor what a server still owes when they have their answers makes it better or worse.
        """
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.readline)
        self.counted, self._first, cpu = 0, 0.0, time.process_time()
        expected = int(await loop.run_in_executor(None, sys.stdin.readline))
        await eventually(lambda: self.counted >= expected or broken(), LATE_SECONDS)
        if broken() or self.counted != expected:
            raise RuntimeError(f"{self.counted} deliveries, {expected} expected")
        elapsed = self._last - self._first
        return {
            "events": self.counted,
            "seconds": elapsed,
            "per_second": self.counted / elapsed,
            "client_cores": (time.process_time() - cpu) / elapsed,
        }
