"""Fills the measured server's database by SQL: what would take an hour to send is there in seconds."""

import contextlib
import sqlite3
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2

from bench.measuring import TEXT_BYTES
from bench.system import System
from server.core.engine import sqlite_path

_NOW = 1_750_000_000_000_000
_PLAIN = "id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time"
_ROWS = {
    "sqlite": f"""
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
        INSERT INTO chat_messages ({_PLAIN})
        SELECT printf('%s-%012x', :prefix, i), :channel, i, :sender, :channel || i, 'TEXT', :text,
            :now + i, :now + i FROM n
    """,  # noqa: S608 - constants of this file
    "postgresql": f"""
        INSERT INTO chat_messages ({_PLAIN})
        SELECT %(prefix)s || '-' || lpad(to_hex(i), 12, '0'), %(channel)s, i, %(sender)s,
            %(channel)s || i, 'TEXT', %(text)s, %(now)s + i, %(now)s + i
        FROM generate_series(1, %(count)s) AS n(i)
    """,  # noqa: S608
}


@contextlib.contextmanager
def _cursor(system: System) -> Iterator[Any]:
    """One transaction. It need not be durable: the server's own connections are."""
    if system.db == "sqlite":
        connection: Any = sqlite3.connect(sqlite_path(system.database_url), timeout=30)
        connection.execute("PRAGMA synchronous = OFF")
    else:
        connection = psycopg2.connect(system.database_url)
    try:
        with contextlib.closing(connection.cursor()) as cursor:
            yield cursor
        connection.commit()
    finally:
        connection.close()


def _execute(cursor: Any, sql: str, *values: Any) -> None:
    cursor.execute(sql if isinstance(cursor, sqlite3.Cursor) else sql.replace("?", "%s"), values)


def fill_rooms(system: System, count: int) -> list[str]:
    """Group channels of which everybody is a member; their ids."""
    rooms = [str(uuid.uuid4()) for _ in range(count)]
    with _cursor(system) as cursor:
        for room in rooms:
            _execute(
                cursor,
                "INSERT INTO chat_channels (id, type, create_time, update_time)"
                " VALUES (?, 'GROUP', ?, ?)",
                room,
                _NOW,
                _NOW,
            )
            for user_id, _token in system.people:
                _execute(
                    cursor,
                    "INSERT INTO chat_members (channel_id, user_id, create_time, update_time)"
                    " VALUES (?, ?, ?, ?)",
                    room,
                    user_id,
                    _NOW,
                    _NOW,
                )
    return rooms


def fill_messages(system: System, channel_id: str, count: int) -> None:
    """So many messages of the first person in a channel that has none.

    They are left out of the search: what is measured on them reads no search index, and building one
    takes longer than all the rest.
    """
    values = {
        "count": count,
        "prefix": channel_id[:23],
        "channel": channel_id,
        "sender": system.people[0][0],
        "text": "x" * TEXT_BYTES,
        "now": _NOW,
    }
    with _cursor(system) as cursor:
        if system.db == "sqlite":
            cursor.execute("DROP TRIGGER IF EXISTS chat_search_insert")
        else:
            cursor.execute("DROP INDEX IF EXISTS chat_messages_search")
        cursor.execute(_ROWS[system.db], values)
        _execute(cursor, "UPDATE chat_channels SET last_seq = ? WHERE id = ?", count, channel_id)


def settle(system: System) -> None:
    """Leaves nothing for the background to do while something is measured."""
    if system.db == "sqlite":
        with contextlib.closing(
            sqlite3.connect(sqlite_path(system.database_url), isolation_level=None)
        ) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    connection = psycopg2.connect(system.database_url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE chat_messages")
            cursor.execute("CHECKPOINT")
    finally:
        connection.close()
