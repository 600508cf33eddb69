"""A short run beside readers that stall, the proof that it would see them, and its checker alone.

The long run is ``make soak-stalled``.
"""

from collections.abc import Callable

import pytest

from tests.crash.stalled import REASON, Stalls, stall


@pytest.mark.timeout(180)
async def test_stalled_readers_are_cut_and_come_back_whole() -> None:
    # A busy machine is slow by itself: how much slower is for the long run to say.
    stalls = await stall(Stalls(30, slower=10.0), messages=300, write_seconds=1.0)
    assert stalls.problems() == []
    assert stalls.cut_seconds >= 1.0


@pytest.mark.timeout(180)
async def test_readers_that_nobody_cuts_are_seen() -> None:
    stalls = await stall(Stalls(2, limit_seconds=8.0), "patient", messages=50, write_seconds=1.0)
    found = stalls.problems()
    assert any("uncut" in problem for problem in found)
    assert any("untold" in problem for problem in found)


def whole() -> Stalls:
    return Stalls(
        2,
        before=[0.02] * 100,
        beside=[0.03] * 100,
        grown_bytes=300 * 1024,
        cut_seconds=12.0,
        reasons=[REASON, REASON],
    )


def fat(stalls: Stalls) -> None:
    stalls.grown_bytes = 600 * 1024


def starved(stalls: Stalls) -> None:
    stalls.beside[:2] = [0.05, 0.05]


def uncut(stalls: Stalls) -> None:
    stalls.cut_seconds = 30.5


def untold(stalls: Stalls) -> None:
    stalls.reasons[1] = "UNAVAILABLE"


def incomplete(stalls: Stalls) -> None:
    stalls.incomplete.append("incomplete: reader 1 has 3 of 4 messages")


def test_kept_promises() -> None:
    assert whole().problems() == []


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (fat, "memory: 300 KiB"),
        (starved, "starved: p99 50.0 ms"),
        (uncut, "uncut:"),
        (untold, "untold:"),
        (incomplete, "reader 1 has 3"),
    ],
)
def test_broken_promises(breakage: Callable[[Stalls], None], said: str) -> None:
    stalls = whole()
    breakage(stalls)
    assert any(said in problem for problem in stalls.problems())
