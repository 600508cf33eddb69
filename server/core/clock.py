"""The time, as a port: what reads it is given a clock, so that a test can turn it."""

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is stored and shown, monotonic time for durations."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    def timestamp(self) -> float:
        """The present instant in seconds since 1970, for what every call compares."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever grow; their zero means nothing."""
        ...


class SystemClock:
    """The clock of the machine."""

    # Each call asks for the time, so that there is no frame of Python's around it.
    now = staticmethod(partial(datetime.now, UTC))
    """The present instant, aware, in UTC, to the microsecond."""

    timestamp = staticmethod(time.time)
    """The present instant in seconds since 1970."""

    monotonic = staticmethod(time.monotonic)
    """Seconds since some moment in the past."""


class ManualClock:
    """A clock that stands still until :meth:`advance` moves it."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = (start or datetime(2026, 1, 1, tzinfo=UTC)).astimezone(UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """The instant the clock stands at."""
        return self._now

    def timestamp(self) -> float:
        """The instant the clock stands at, in seconds since 1970."""
        return self._now.timestamp()

    def monotonic(self) -> float:
        """Seconds, moved by the same amounts as the wall time."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Moves both times forward; a clock never goes back."""
        if seconds < 0:
            raise ValueError("A clock does not go back.")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
