"""Statements that are put together once do what Peewee's own do, on both databases."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import peewee
import pytest

from server.core.db import Database, locked_one, locked_or_new
from server.core.statements import equalities
from server.core.unit import Unit
from tests.unit.core.things import Account, Seat, Thing, opened

SEEN = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)

KNOWN: dict[str, Callable[[], list[Any]]] = {
    "a text": lambda: [Thing.name == "b"],
    "a number": lambda: [Thing.rank == 2],
    "an instant": lambda: [Thing.seen_time == SEEN],
    "JSON": lambda: [Thing.details == {"a": 1}],
    "bytes": lambda: [Thing.content == b"\0b"],
    "two in one": lambda: [(Thing.name == "b") & (Thing.rank == 2)],
    "two": lambda: [Thing.name == "b", Thing.rank == 2],
    "one of two": lambda: [Thing.name == "b", Thing.rank == 1],
    "none": lambda: [Thing.name == "c"],
}
LEFT: dict[str, Callable[[], list[Any]]] = {
    "NULL": lambda: [Thing.seen_time == None],  # noqa: E711
    "one of a list": lambda: [Thing.name.in_(["b", "c"])],
    "a range": lambda: [Thing.rank > 1],
    "either": lambda: [(Thing.name == "b") | (Thing.name == "c")],
    "not": lambda: [~(Thing.name == "a")],
    "two columns": lambda: [Thing.rank == Thing.rank + 0, Thing.name == "b"],
    "a column twice": lambda: [Thing.name == "b", Thing.name == "a"],
    "what is computed": lambda: [peewee.fn.lower(Thing.name) == "b"],
    "an alias": lambda: [Thing.alias().name == "b"],
    "nothing": list,
}


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with opened(database_url) as database:
        yield database


def fill(_unit: Unit) -> None:
    Thing.create(name="a", rank=1)
    Thing.create(name="b", rank=2, seen_time=SEEN, details={"a": 1}, content=b"\0b")


@pytest.mark.parametrize("name", [*KNOWN, *sorted(LEFT.keys() - {"an alias", "nothing"})])
def test_a_row_is_found_as_peewee_finds_it(db: Database, name: str) -> None:
    conditions = {**KNOWN, **LEFT}[name]()

    def work(unit: Unit) -> None:
        fill(unit)
        slow = Thing.select().where(*conditions).get_or_none()
        for found in (Thing.get_or_none(*conditions), locked_one(Thing, *conditions)):
            assert found == slow
            assert found is None or (found.__data__ == slow.__data__ and not found.is_dirty())
        if slow is None:
            with pytest.raises(Thing.DoesNotExist):
                Thing.get(*conditions)
        else:
            assert Thing.get(*conditions) == slow

    db.run_here(work, write=True)


@pytest.mark.parametrize("name", KNOWN)
def test_comparisons_with_values_are_put_together_once(name: str) -> None:
    assert equalities(Thing, KNOWN[name]()) is not None


@pytest.mark.parametrize("name", LEFT)
def test_all_else_is_left_to_peewee(name: str) -> None:
    assert equalities(Thing, LEFT[name]()) is None


def test_columns_of_another_table_are_left_to_peewee() -> None:
    assert equalities(Account, [Thing.name == "b"]) is None


def test_filters_are_left_to_peewee(db: Database) -> None:
    def work(unit: Unit) -> None:
        fill(unit)
        assert Thing.get(name="b").rank == 2
        assert Thing.get_or_none(name="c") is None

    db.run_here(work, write=True)


def test_a_row_is_inserted_with_every_column(db: Database) -> None:
    def work(_unit: Unit) -> None:
        made = Thing.create(name="%s ?", seen_time=SEEN, details=None, content=b"\xff")
        assert not made.is_dirty()
        assert Thing.select().where(Thing.id == made.id).get().__data__ == made.__data__

    db.run_here(work, write=True)


def test_a_row_with_a_key_of_two_columns_is_changed_alone(db: Database) -> None:
    def work(_unit: Unit) -> None:
        thing = Thing.create(name="a")
        for number in (1, 2):
            Seat.create(room="blue", number=number, thing=thing)
        seat = Seat.get(Seat.room == "blue", Seat.number == 2)
        assert seat.thing_id == thing.id
        seat.taken, seat.thing = True, None
        assert seat.save() == 1
        assert not seat.is_dirty()
        assert seat.save() is False
        seats = Seat.select(Seat.number, Seat.thing, Seat.taken).order_by(Seat.number).tuples()
        assert list(seats) == [(1, thing.id, False), (2, None, True)]
        assert Seat.get_or_none(Seat.thing == thing).number == 1
        Seat.delete().execute()

    db.run_here(work, write=True)


def test_a_row_that_is_gone_is_not_counted_as_changed(db: Database) -> None:
    def work(_unit: Unit) -> None:
        account = Account.create(name="a")
        Account.delete().execute()
        account.balance = 7
        assert account.save() == 0

    db.run_here(work, write=True)


def test_a_value_that_is_computed_is_left_to_peewee(db: Database) -> None:
    def work(_unit: Unit) -> None:
        account = Account.create(name="a", balance=5)
        account.balance = Account.balance + 2
        account.save()
        assert Account.get(Account.name == "a").balance == 7

    db.run_here(work, write=True)


def test_only_named_columns_are_written(db: Database) -> None:
    def work(_unit: Unit) -> None:
        thing = Thing.create(name="a", rank=1)
        thing.name, thing.rank = "b", 2
        thing.save(only=[Thing.rank])
        assert (Thing.get_by_id(thing.id).name, Thing.get_by_id(thing.id).rank) == ("a", 2)

    db.run_here(work, write=True)


def test_a_row_is_made_where_there_is_none(db: Database) -> None:
    def work(_unit: Unit) -> None:
        assert locked_or_new(Account, {"name": "a"}, balance=3).balance == 3
        assert locked_or_new(Account, {"name": "a"}, balance=4).balance == 3
        assert Account.select().count() == 1

    db.run_here(work, write=True)


def test_a_new_row_that_breaks_a_rule_is_refused(db: Database) -> None:
    with pytest.raises(peewee.IntegrityError):
        db.run_here(lambda _unit: locked_or_new(Thing, {"id": "1"}, rank=1), write=True)


def test_a_lock_is_refused_to_a_unit_that_reads(db: Database) -> None:
    db.run_here(fill, write=True)
    if db.kind == "postgresql":
        with pytest.raises(RuntimeError, match="does not write"):
            db.run_here(lambda _unit: locked_one(Thing, Thing.name == "a"), write=False)
    db.run_here(lambda _unit: locked_one(Thing, Thing.name == "a"), write=True)
