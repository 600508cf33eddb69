"""The checker of the kill harness sees each kind of broken promise, and none where none was broken."""

from collections.abc import Callable

import pytest

from tests.crash.history import History


def whole() -> History:
    """Two senders, one reader; the reply to b2 was lost, and a3 never arrived."""
    stored = [(1, "a1"), (2, "b1"), (3, "b2"), (4, "a2")]
    return History(
        attempted={"a": ["a1", "a2", "a3"], "b": ["b1", "b2"]},
        acknowledged={"a1": 1, "b1": 2, "a2": 4},
        stored=list(stored),
        listed=list(stored),
        read={"r": list(stored)},
        back_seconds=[0.1] * 100,
    )


def _store(history: History, *stored: tuple[int, str]) -> None:
    history.stored = history.listed = list(stored)
    history.read = {"r": list(stored)}


def lost(history: History) -> None:
    _store(history, (1, "a1"), (2, "b1"), (3, "b2"))


def unexpected(history: History) -> None:
    _store(history, *history.stored, (5, "x"))


def doubled(history: History) -> None:
    _store(history, *history.stored, (5, "a2"))


def moved(history: History) -> None:
    history.acknowledged["b1"] = 1


def gap(history: History) -> None:
    history.acknowledged["a2"] = 5
    _store(history, *history.stored[:3], (5, "a2"))


def order(history: History) -> None:
    history.attempted["b"].reverse()


def listed(history: History) -> None:
    history.listed.pop()


def missing(history: History) -> None:
    history.read["r"].pop(1)


def twice(history: History) -> None:
    history.read["r"].append((4, "a2"))


def backwards(history: History) -> None:
    history.read["r"].reverse()


def told_of_a_gap(history: History) -> None:
    history.gaps["r"] += 1


def refused(history: History) -> None:
    history.refused.append("r was refused: CURSOR_AHEAD")


def late(history: History) -> None:
    history.back_seconds[:2] = [3.5, 4.0]


def test_kept_promises() -> None:
    history = whole()
    assert history.problems() == []
    assert history.recovered == ["b2"]


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (lost, "lost: a2"),
        (unexpected, "unexpected: x"),
        (doubled, "doubled: a2"),
        (moved, "moved: b1"),
        (gap, "gap: the numbers"),
        (order, "order: the messages of b"),
        (listed, "listed:"),
        (missing, "1 missing, 0 doubled"),
        (twice, "0 missing, 1 doubled"),
        (backwards, "in order: False"),
        (told_of_a_gap, "gap: r"),
        (refused, "CURSOR_AHEAD"),
        (late, "late:"),
    ],
)
def test_broken_promises(breakage: Callable[[History], None], said: str) -> None:
    history = whole()
    breakage(history)
    assert any(said in problem for problem in history.problems())
