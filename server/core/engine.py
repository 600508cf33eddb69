"""Peewee's databases, made strict: one connection a thread, and no statement outside a unit."""

import asyncio
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import peewee
import psycopg2
from peewee import __exception_wrapper__ as translated  # type: ignore[attr-defined]
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, new_type, register_type

if TYPE_CHECKING:
    from server.core.unit import Unit

_CLOSED, _READ, _WRITE = 0, 1, 2
_READING = ("SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA", "SHOW")
_UNIT_MARK = object()
"""Lies on Peewee's stack of transactions during a unit, so that ``atomic()`` makes a savepoint."""

_BYTES = new_type(
    psycopg2.BINARY.values,
    "BYTES",
    lambda value, cursor: None if value is None else bytes(psycopg2.BINARY(value, cursor)),
)
"""BYTEA as ``bytes``, as SQLite gives it, where psycopg2 would give a ``memoryview``."""

SQLITE_PRAGMAS = (
    ("busy_timeout", "5000"),
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("foreign_keys", "on"),
    ("cache_size", "-16000"),
    ("temp_store", "memory"),
)


class _Turn(threading.local):
    """What the present thread is doing."""

    def __init__(self) -> None:
        self.mode = _CLOSED
        self.pending = ""
        self.unit: Unit | None = None


class _Engine(ABC, peewee.Database):
    """The part that both databases share. One instance serves all threads of the process."""

    kind = ""
    _state: Any
    """Peewee's own thread-local state: the connection and the stack of transactions."""

    def __init__(self, database: str, **options: Any) -> None:
        self.turn = _Turn()
        self._opened: set[Any] = set()
        self._native: dict[str, str] = {}
        super().__init__(database, autoconnect=False, **options)

    def _execute_cursor(self, sql: str, params: Any, **options: Any) -> Any:
        turn = self.turn
        if turn.mode != _WRITE:
            self._admit(turn.mode, sql)
        pending = turn.pending
        if pending:
            sql, turn.pending = pending + sql, ""
        connection = self._state.conn
        try:
            cursor = connection.cursor()
            cursor.execute(sql, params or ())
        except Exception:
            if pending and connection.get_transaction_status() == TRANSACTION_STATUS_IDLE:
                turn.pending = pending  # The BEGIN did not get through either.
            with translated:
                raise
        return cursor

    def _admit(self, mode: int, sql: str) -> None:
        if mode == _READ:
            start = sql.lstrip(" \n\t(")[:8].upper()
            if start.startswith(_READING) and "FOR UPDATE" not in sql:
                return
            raise RuntimeError(f"a unit opened for reading does not write: {sql[:80]}")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("Peewee was used on the thread of an event loop; use Database.run")
        raise RuntimeError("Peewee was used outside a unit of work; use Database.run or run_here")

    def start_unit(self, unit: "Unit", *, write: bool, serializable: bool) -> bool:
        """Begins a transaction in this thread; True when it had to connect for it."""
        turn = self.turn
        if turn.mode != _CLOSED:
            raise RuntimeError("this thread is in a unit of work already; units do not nest")
        fresh = self._state.closed
        if fresh:
            self.connect()
        self._begin(self._state.conn, turn, write, serializable)
        turn.mode = _WRITE if write else _READ
        turn.unit = unit
        self._state.transactions.append(_UNIT_MARK)
        return bool(fresh)

    @abstractmethod
    def commit_unit(self) -> None:
        """Commits. If this raises, the unit is not over: ``abandon_unit`` has to end it."""

    @abstractmethod
    def abandon_unit(self) -> bool:
        """Rolls back. A connection that cannot even do that is thrown away: then it says True."""

    def native(self, sql: str) -> str:
        """``sql`` with the driver's mark for a parameter in place of ``?``."""
        known = self._native.get(sql)
        if known is None:
            known = self._native[sql] = sql.replace("?", self.param)
        return known

    @abstractmethod
    def _begin(self, connection: Any, turn: _Turn, write: bool, serializable: bool) -> None:
        """Begins a transaction."""

    @abstractmethod
    def _connect(self) -> Any:
        """A new connection."""

    def _end(self) -> None:
        turn = self.turn
        turn.mode = _CLOSED
        turn.pending = ""
        turn.unit = None
        self._state.transactions.clear()
        self._state.commit_callbacks.clear()

    def _discard(self) -> None:
        """Throws the connection of this thread away; the next unit opens another."""
        connection = self._state.conn
        self._state.reset()
        self._opened.discard(connection)
        if connection is not None:
            connection.close()

    def close_here(self) -> None:
        """Closes the connection of this thread, if it has one."""
        if not self._state.closed:
            self._discard()

    def close_all(self) -> None:
        """Closes what other threads left open. They must not be working any more."""
        for connection in list(self._opened):
            connection.close()
        self._opened.clear()
        self._state.reset()

    @contextmanager
    def dedicated(self) -> Iterator[Any]:
        """A connection beside those of the threads."""
        connection = self._connect()
        try:
            yield connection
        finally:
            self._opened.discard(connection)
            connection.close()


class SqliteEngine(_Engine, peewee.SqliteDatabase):
    """SQLite in a file: WAL, every commit synced, foreign keys on."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__(
            str(path), pragmas=SQLITE_PRAGMAS, check_same_thread=False, cached_statements=256
        )

    def _connect(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = peewee.SqliteDatabase._connect(self)  # type: ignore[attr-defined]
        mode, synchronous, keys = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys")
        )
        if (mode, synchronous, keys) != ("wal", 2, 1):
            connection.close()
            raise RuntimeError(
                f"SQLite refuses to keep {self.database} safe (journal {mode}, synchronous "
                f"{synchronous}, foreign keys {keys}): is it on a network drive?"
            )
        self._opened.add(connection)
        return connection

    def _begin(self, connection: Any, turn: _Turn, write: bool, serializable: bool) -> None:
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def commit_unit(self) -> None:
        self._state.conn.execute("COMMIT")
        self._end()

    def abandon_unit(self) -> bool:
        self._end()
        try:
            if self._state.conn.in_transaction:
                self._state.conn.execute("ROLLBACK")
        except sqlite3.Error:
            self._discard()
            return True
        return False


class PostgresqlEngine(_Engine, peewee.PostgresqlDatabase):
    """PostgreSQL over psycopg2, READ COMMITTED.

    A write's BEGIN travels with its first statement. A read that asks for no isolation is not a
    transaction at all: each of its statements sees what is committed then.
    """

    kind = "postgresql"

    def __init__(self, url: str, *, statement_seconds: float, application: str) -> None:
        self._options = {
            "application_name": application,
            "connect_timeout": 3,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        self._session = (
            f"SET statement_timeout = {round(statement_seconds * 1000)};"
            f"SET lock_timeout = {round(min(statement_seconds, 5.0) * 1000)};"
            "SET idle_in_transaction_session_timeout = 60000;"
            "SET default_transaction_isolation = 'read committed'"
        )
        super().__init__(url, **self._options)

    def _connect(self) -> Any:
        connection = peewee.PostgresqlDatabase._connect(self)  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute(self._session)
        register_type(_BYTES, connection)
        self._opened.add(connection)
        return connection

    def _begin(self, connection: Any, turn: _Turn, write: bool, serializable: bool) -> None:
        if write:
            turn.pending = "BEGIN ISOLATION LEVEL SERIALIZABLE;" if serializable else "BEGIN;"
        elif serializable:
            turn.pending = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"

    def commit_unit(self) -> None:
        connection = self._state.conn
        # Idle: nothing was begun, or the unit read without a transaction.
        if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            cursor = connection.cursor()
            cursor.execute("COMMIT")
            if cursor.statusmessage != "COMMIT":
                raise RuntimeError(
                    "the unit caught an error of the database outside a savepoint, so PostgreSQL "
                    "rolled everything back; put the statement into `with unit.savepoint():`"
                )
        self._end()

    def abandon_unit(self) -> bool:
        self._end()
        connection = self._state.conn
        try:
            if connection.closed:
                self._discard()
                return True
            if connection.get_transaction_status() != TRANSACTION_STATUS_IDLE:
                connection.cursor().execute("ROLLBACK")
        except psycopg2.Error:
            self._discard()
            return True
        return False


Engine = SqliteEngine | PostgresqlEngine


def sqlite_path(url: str) -> Path:
    """The file that ``sqlite:///relative`` or ``sqlite:////absolute`` means."""
    return Path(unquote(urlsplit(url).path[1:]))


def open_engine(url: str, *, statement_seconds: float, application: str = "greenroom") -> Engine:
    """The engine for a database URL; nothing is connected yet."""
    if url.startswith("sqlite:"):
        path = sqlite_path(url)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return SqliteEngine(path.absolute())
    return PostgresqlEngine(url, statement_seconds=statement_seconds, application=application)
