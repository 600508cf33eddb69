"""Rates are kept to, and forgotten keys are forgiven."""

import pytest

from server.core import limits
from server.core.clock import ManualClock
from server.core.limits import MemoryCounters
from server.core.rates import Rate


def test_a_burst_then_the_rate() -> None:
    clock = ManualClock()
    counters = MemoryCounters(clock)
    rate = Rate(10, 10.0, 3)
    assert [counters.take_now("a", rate) for _ in range(3)] == [0, 0, 0]
    assert counters.take_now("a", rate) == 1.0
    assert counters.take_now("b", rate) == 0
    clock.advance(0.5)
    assert counters.take_now("a", rate) == 0.5
    clock.advance(0.5)
    assert counters.take_now("a", rate) == 0
    clock.advance(100)
    assert sum(counters.take_now("a", rate) == 0 for _ in range(10)) == 3


def test_a_flood_of_keys_forgives_none_that_has_long_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MOST_KEYS", 100)
    clock = ManualClock()
    counters = MemoryCounters(clock)
    rate = Rate(10, 10.0, 3)
    assert counters.take_now("idle", rate) == 0
    clock.advance(1)
    assert [counters.take_now("guesser", rate) for _ in range(3)] == [0, 0, 0]
    for number in range(250):
        assert counters.take_now(f"other {number}", rate) == 0
    assert counters.take_now("guesser", rate) == 1.0
    assert counters.take_now("other 0", rate, 3) == 0
