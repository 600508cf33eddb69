"""Ids are UUIDv7 and only ever grow; clocks stand still or go on."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from server.core import ids
from server.core.clock import ManualClock, SystemClock


def test_ids_are_version_seven_and_carry_the_time() -> None:
    made = ids.UuidSevens(lambda: 1_700_000_000_123)()
    parsed = UUID(made)
    assert str(parsed) == made
    assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")
    assert parsed.int >> 80 == 1_700_000_000_123
    assert ids.is_id(made)
    assert not ids.is_id(made.upper())
    assert not ids.is_id("nonsense")


def test_ids_grow_in_one_millisecond_and_when_the_clock_goes_back() -> None:
    times = iter([5] * 3000 + [4] * 3000 + [6] * 3000)
    generator = ids.UuidSevens(lambda: next(times))
    made = [generator() for _ in range(9000)]
    assert made == sorted(set(made))


def test_a_full_millisecond_runs_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.core.ids.secrets.randbits", lambda bits: (1 << bits) - 1)
    generator = ids.UuidSevens(lambda: 5)
    generator._random = (1 << 74) - 2
    generator._time = 5
    first, second = generator(), generator()
    assert first < second
    assert UUID(first).int >> 80 == 6


def test_ids_of_many_threads_are_all_different_and_grow_in_each() -> None:
    made: list[list[str]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda own=own: own.extend(ids.new_id() for _ in range(2000)))
        for own in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for own in made for one in own}) == 8000
    assert all(own == sorted(own) for own in made)


def test_the_generator_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "generator", lambda: "fixed")
    assert ids.new_id() == "fixed"


def test_secrets_are_long_and_different() -> None:
    assert len(ids.new_secret()) == 43
    assert ids.new_secret() != ids.new_secret()


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    before = clock.monotonic()
    clock.advance(1.5)
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=1.5)
    assert clock.monotonic() - before == 1.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_the_system_clock_is_aware() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic() <= clock.monotonic()
