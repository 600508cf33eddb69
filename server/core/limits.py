"""Rate limits: how long somebody has to wait, in this process or shared between several."""

from typing import Protocol

from server.core.clock import Clock
from server.core.rates import Rate

MOST_KEYS = 200_000
"""Keys that one process remembers; past it those are forgotten, and so forgiven, that have
the least to wait for."""
_TOLERANCE = 1e-6
"""Seconds that rounding may add up to, when the monotonic clock has run for years."""


class Counters(Protocol):
    """Counts events by key."""

    @property
    def is_shared(self) -> bool:
        """True when other processes count in the same place, so that ``take`` has to be awaited."""
        ...

    def take_now(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Counts in this process only: 0 when allowed, else the seconds to wait."""
        ...

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Counts wherever the counters live: 0 when allowed, else the seconds to wait."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class MemoryCounters:
    """Counters of one process, by the generic cell rate algorithm (ITU-T I.371).

    A key is one number, the time at which it will be idle again, so that taking is a handful of
    operations whatever the rate. Refused calls are not counted.
    """

    is_shared = False

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._idle_at: dict[str, float] = {}

    def take_now(self, key: str, rate: Rate, cost: int = 1) -> float:
        """0 when allowed, else the seconds to wait."""
        now = self._now()
        idle_at = self._idle_at
        before = idle_at.get(key, now)
        after = (before if before > now else now) + cost * rate.spacing
        wait = after - now - rate.slack
        if wait > _TOLERANCE:
            return wait
        idle_at[key] = after
        if len(idle_at) > MOST_KEYS:
            self._forget(now)
        return 0.0

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        """The same as :meth:`take_now`."""
        return self.take_now(key, rate, cost)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _forget(self, now: float) -> None:
        """Drops what is idle, and what is nearest to it until a tenth is free: not soon again."""
        busy = [(idle_at, key) for key, idle_at in self._idle_at.items() if idle_at > now]
        busy.sort(reverse=True)
        self._idle_at = {key: idle_at for idle_at, key in busy[: MOST_KEYS * 9 // 10]}


def open_counters(bus_url: str, clock: Clock) -> Counters:
    """Counters beside the bus: shared when the bus is."""
    if bus_url.startswith("memory:"):
        return MemoryCounters(clock)
    from server.core.bus_redis import RedisCounters

    return RedisCounters(bus_url, clock)
