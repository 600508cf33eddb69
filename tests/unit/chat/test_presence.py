"""Who is counted as here, and what is written of it."""

from server.chat.presence import GRACE_SECONDS, Attendance
from server.core.clock import ManualClock


class Book:
    """An attendance, and what stands in the rows that are kept by it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.attendance = Attendance(self.clock.monotonic)
        self.rows: set[str] = set()
        self.statements = 0

    def keep(self) -> None:
        """Writes what is due."""
        arrived, departed = self.attendance.arrivals(), self.attendance.departures()
        self.statements += bool(arrived or departed)
        self.rows.update(arrived)
        self.rows.difference_update(departed)
        self.attendance.wrote(arrived, arrived)
        self.attendance.removed(departed)
        assert set(self.attendance.written) == self.rows


def test_the_first_stream_arrives_and_the_last_one_departs_after_the_grace() -> None:
    book = Book()
    for _ in range(3):
        book.attendance.opened("ann")
        book.keep()
    assert (book.rows, book.statements) == ({"ann"}, 1)
    for _ in range(3):
        assert not book.attendance.departures()
        book.attendance.closed("ann")
    book.clock.advance(GRACE_SECONDS - 0.1)
    book.keep()
    assert book.rows == {"ann"}
    book.clock.advance(0.1)
    book.keep()
    assert book.rows == set()
    book.keep()
    assert book.statements == 2


def test_a_thousand_that_come_at_once_are_written_at_once() -> None:
    book = Book()
    for number in range(1000):
        book.attendance.opened(str(number))
    book.keep()
    assert (len(book.rows), book.statements) == (1000, 1)


def test_a_stream_that_comes_back_within_the_grace_changes_nothing() -> None:
    book = Book()
    for _ in range(20):
        book.attendance.opened("ann")
        book.keep()
        book.attendance.closed("ann")
        book.clock.advance(GRACE_SECONDS / 2)
        book.keep()
    assert (book.rows, book.statements) == ({"ann"}, 1)


def test_a_stream_that_was_never_written_is_written_and_struck_out() -> None:
    book = Book()
    book.attendance.opened("ann")
    book.attendance.closed("ann")
    book.keep()
    assert book.rows == {"ann"}
    book.clock.advance(GRACE_SECONDS)
    book.keep()
    assert book.rows == set()


def test_who_went_before_the_database_came_back_is_not_written() -> None:
    book = Book()
    book.attendance.opened("ann")
    book.attendance.closed("ann")
    book.clock.advance(GRACE_SECONDS)
    assert book.attendance.arrivals() == []
    book.keep()
    assert (book.rows, book.attendance.departures()) == (set(), [])


def test_who_comes_back_while_they_are_struck_out_is_written_again() -> None:
    book = Book()
    book.attendance.opened("ann")
    book.keep()
    book.attendance.closed("ann")
    book.clock.advance(GRACE_SECONDS)
    departed = book.attendance.departures()
    book.attendance.opened("ann")
    book.rows.clear()
    book.attendance.removed(departed)
    assert book.attendance.arrivals() == ["ann"]
    book.keep()
    assert book.rows == {"ann"}


def test_who_comes_and_goes_while_they_are_struck_out_is_written_and_struck_out_again() -> None:
    book = Book()
    book.attendance.opened("ann")
    book.keep()
    book.attendance.closed("ann")
    book.clock.advance(GRACE_SECONDS)
    departed = book.attendance.departures()
    book.attendance.opened("ann")
    book.attendance.closed("ann")
    book.rows.clear()
    book.attendance.removed(departed)
    book.keep()
    assert book.rows == {"ann"}
    book.clock.advance(GRACE_SECONDS)
    book.keep()
    assert (book.rows, book.attendance.departures()) == (set(), [])


def test_what_could_not_be_written_stays_due() -> None:
    book = Book()
    book.attendance.opened("ann")
    assert book.attendance.arrivals() == book.attendance.arrivals() == ["ann"]
    book.keep()
    book.attendance.closed("ann")
    book.clock.advance(GRACE_SECONDS)
    assert book.attendance.departures() == book.attendance.departures() == ["ann"]


def test_who_cannot_be_written_is_not_tried_for_ever() -> None:
    book = Book()
    book.attendance.opened("ann")
    book.attendance.wrote(["ann"], [])
    assert (book.attendance.arrivals(), list(book.attendance.written)) == ([], [])


def test_in_doubt_all_who_are_here_are_written_again() -> None:
    book = Book()
    for user in ("ann", "bob", "cid"):
        book.attendance.opened(user)
    book.keep()
    book.attendance.closed("bob")
    book.attendance.doubt()
    assert sorted(book.attendance.arrivals()) == ["ann", "bob", "cid"]
    book.clock.advance(GRACE_SECONDS)
    assert sorted(book.attendance.arrivals()) == ["ann", "cid"]


def test_those_who_leave_are_told_in_the_order_of_their_leaving() -> None:
    book = Book()
    for user in ("ann", "bob"):
        book.attendance.opened(user)
    book.attendance.closed("ann")
    book.clock.advance(1)
    book.attendance.closed("bob")
    book.clock.advance(1)
    book.attendance.opened("ann")
    book.attendance.closed("ann")
    book.clock.advance(GRACE_SECONDS - 1)
    assert book.attendance.departures() == ["bob"]
    book.clock.advance(1)
    assert book.attendance.departures() == ["bob", "ann"]
