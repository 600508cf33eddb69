"""What lies in ranges of numbers of many channels, each kind of it in one statement.

Messages are numbered without gaps, and each change is that of one thing: a range of numbers bounds what is
read whatever the channels hold.
"""

from collections.abc import Sequence
from typing import NamedTuple

from server.chat.message import StoredMessage
from server.chat.statements import POSTGRESQL_REST, SQLITE_REST, Row, Statements
from server.core.db import database
from server.core.unit import Unit

MOST_NUMBERS = 1_000
"""A range holds so many at most. PostgreSQL is told, lest it prepares for a whole history."""


class Range(NamedTuple):
    """Numbers of a channel."""

    channel_id: str
    after: int
    upto: int


class MemberNews(NamedTuple):
    """A membership as it is now."""

    place: int
    """Which of the ranges it was found in."""
    change: int
    user_id: str
    role: str
    """Empty for those who have left."""


_COLUMNS = "x.id, x.seq, x.sender_id, x.client_id, x.text, x.create_time"
_SQLITE_RANGES = """
    WITH k AS MATERIALIZED (
        SELECT key AS place, value ->> 0 AS channel_id, value ->> 1 AS after, value ->> 2 AS upto
        FROM json_each(?)
    )
"""
_POSTGRESQL_RANGES = """
    WITH k AS MATERIALIZED (
        SELECT number - 1 AS place, channel_id, after, upto
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
            WITH ORDINALITY AS r(channel_id, after, upto, number)
    )
"""
# That 0 is left out shows the planner that the partial indexes will do. It is said last: of two lower bounds
# SQLite walks from the first one on.
_IN_RANGE = (
    "x.channel_id = k.channel_id AND x.change > k.after AND x.change <= k.upto AND x.change > 0"
)
_WRITTEN = "x.channel_id = k.channel_id AND x.seq > k.after AND x.seq <= k.upto"


def _sqlite_messages(condition: str) -> str:
    return f"""
        {_SQLITE_RANGES} SELECT json_group_array(json_array(k.place, {_COLUMNS}, {SQLITE_REST}))
        FROM k CROSS JOIN chat_messages AS x ON {condition}
    """  # noqa: S608 - put together of constants, like all here


def _postgresql_messages(condition: str) -> str:
    # LATERAL with LIMIT, as in statements.py: one look into the index for each range.
    return f"""
        {_POSTGRESQL_RANGES} SELECT k.place, m.* FROM k CROSS JOIN LATERAL (
            SELECT {_COLUMNS}, {POSTGRESQL_REST} FROM chat_messages AS x WHERE {condition}
            LIMIT {MOST_NUMBERS}
        ) AS m
    """  # noqa: S608


_SQLITE_MEMBERS = f"""
    {_SQLITE_RANGES} SELECT json_group_array(json_array(place, change, user_id, role)) FROM (
        SELECT k.place, x.change, x.user_id, x.role
        FROM k CROSS JOIN chat_members AS x ON {_IN_RANGE}
        UNION ALL
        SELECT k.place, x.change, x.user_id, ''
        FROM k CROSS JOIN chat_departures AS x ON {_IN_RANGE}
    )
"""  # noqa: S608
_POSTGRESQL_MEMBERS = f"""
    {_POSTGRESQL_RANGES}
    SELECT k.place, m.* FROM k CROSS JOIN LATERAL (
        SELECT x.change, x.user_id, x.role FROM chat_members AS x WHERE {_IN_RANGE} LIMIT {MOST_NUMBERS}
    ) AS m
    UNION ALL
    SELECT k.place, m.* FROM k CROSS JOIN LATERAL (
        SELECT x.change, x.user_id, '' FROM chat_departures AS x WHERE {_IN_RANGE} LIMIT {MOST_NUMBERS}
    ) AS m
"""  # noqa: S608


class DeltaReader:
    """The reads, on whichever database is open, inside a unit."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        sqlite = statements.kind == "sqlite"
        messages = _sqlite_messages if sqlite else _postgresql_messages
        self._messages = messages(_WRITTEN)
        self._changed = messages(_IN_RANGE)
        self._members = _SQLITE_MEMBERS if sqlite else _POSTGRESQL_MEMBERS

    def _rows(self, sql: str, ranges: Sequence[Range]) -> list[Row]:
        if not ranges:
            return []
        parameters = self._sql.parameters([tuple(one) for one in ranges])
        return self._sql.rows(database.execute_sql(sql, parameters))

    def messages(self, _unit: Unit, ranges: Sequence[Range]) -> list[tuple[int, StoredMessage]]:
        """The messages with numbers in the ranges, in the order of both; first the range's place."""
        found = [(row[0], StoredMessage(*row[1:])) for row in self._rows(self._messages, ranges)]
        return sorted(found, key=lambda entry: (entry[0], entry[1].seq))

    def changed(self, _unit: Unit, ranges: Sequence[Range]) -> list[tuple[int, StoredMessage]]:
        """The messages whose newest change lies in the ranges, in no particular order."""
        return [(row[0], StoredMessage(*row[1:])) for row in self._rows(self._changed, ranges)]

    def members(self, _unit: Unit, ranges: Sequence[Range]) -> list[MemberNews]:
        """The memberships whose newest change lies in the ranges, in no particular order."""
        return [MemberNews(*row) for row in self._rows(self._members, ranges)]
