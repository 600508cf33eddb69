"""A table for the tests of the core, and a database that has it."""

from collections.abc import Iterator
from contextlib import contextmanager

import peewee

from server.core.clock import Clock, SystemClock
from server.core.config import load_settings
from server.core.db import Database, JsonField, Model, Row, TimestampField


class Thing(Row):
    """A row with a column of each sort."""

    name = peewee.TextField()
    rank = peewee.IntegerField(default=0)
    seen_time = TimestampField(null=True)
    details = JsonField(null=True)
    content = peewee.BlobField(null=True)

    class Meta:
        table_name = "things"


class Account(Model):
    """A balance, for races; its name is unique."""

    name = peewee.CharField(primary_key=True)
    balance = peewee.BigIntegerField(default=0)

    class Meta:
        table_name = "accounts"


class Seat(Model):
    """A place in a room, for keys of two columns; nobody has to sit there."""

    room = peewee.TextField()
    number = peewee.IntegerField()
    thing = peewee.ForeignKeyField(Thing, null=True)
    taken = peewee.BooleanField(default=False)

    class Meta:
        table_name = "seats"
        primary_key = peewee.CompositeKey("room", "number")


TABLES = (Thing, Account, Seat)


@contextmanager
def opened(url: str, *, clock: Clock | None = None, **settings: str) -> Iterator[Database]:
    """The database at ``url`` with the tables above; ``settings`` are named as in the environment."""
    database = Database.open(
        load_settings({"DATABASE_URL": url, **settings}), clock or SystemClock()
    )
    try:
        database.run_here(lambda _unit: [model.create_table() for model in TABLES], write=True)
        yield database
        # Without them the database can serve another test.
        database.run_here(
            lambda _unit: [model.drop_table() for model in reversed(TABLES)], write=True
        )
    finally:
        database.close()
