"""How long busy subscribers wait: longer only while it relieves a loop that is full of their replies."""

import pytest

from server.chat.pace import COALESCE_SECONDS, MOST_COALESCE_SECONDS, Pace


class Loop:
    """A loop's thread that is at work for a share of the time, and writes so many replies a second."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.worked = 3.0
        self.pace = Pace(lambda: self.worked)

    def run(self, seconds: float, *, replies: int, busy: float) -> float:
        """The pace after that."""
        for _ in range(round(seconds * replies)):
            self.now += 1 / replies
            self.worked += busy / replies
            self.pace.wrote(self.now)
        return self.pace.seconds


@pytest.fixture
def loop() -> Loop:
    return Loop()


def test_a_loop_that_is_full_of_replies_makes_them_wait(loop: Loop) -> None:
    assert loop.run(0.1, replies=20_000, busy=1.0) > COALESCE_SECONDS
    assert loop.run(2, replies=20_000, busy=1.0) == MOST_COALESCE_SECONDS


def test_as_soon_as_there_is_time_they_wait_no_longer_than_usual(loop: Loop) -> None:
    loop.run(2, replies=20_000, busy=1.0)
    assert loop.run(2, replies=20_000, busy=0.6) == COALESCE_SECONDS
    loop.run(2, replies=20_000, busy=1.0)
    # Nothing at all for a while, then a little.
    loop.now += 60
    assert loop.run(2, replies=200, busy=0.1) == COALESCE_SECONDS


def test_between_full_and_spare_nothing_changes(loop: Loop) -> None:
    loop.run(0.12, replies=20_000, busy=1.0)
    grown = loop.run(0.1, replies=20_000, busy=0.85)
    assert grown > COALESCE_SECONDS
    assert loop.run(2, replies=20_000, busy=0.85) == grown


def test_a_loop_that_is_full_of_something_else_lets_replies_go(loop: Loop) -> None:
    assert loop.run(2, replies=5_000, busy=1.0) == COALESCE_SECONDS


def test_what_a_reply_takes_is_learnt_from_ticks(loop: Loop) -> None:
    for _ in range(100):
        loop.pace.ticked(100, 100 * 100e-6)
    assert loop.run(2, replies=5_000, busy=1.0) == MOST_COALESCE_SECONDS
    for _ in range(100):
        loop.pace.ticked(100, 100 * 5e-6)
        loop.pace.ticked(3, 1.0)  # Of few replies a tick tells nothing.
    assert loop.run(2, replies=20_000, busy=1.0) == COALESCE_SECONDS
