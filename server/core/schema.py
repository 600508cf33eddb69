"""The schema: migrations from numbered files, run by one runner at a time on either database."""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import peewee
import psycopg2
from playhouse.migrations import Runner

from server.core.engine import SQLITE_PRAGMAS, sqlite_path

DIRECTORY = Path(__file__).resolve().parents[2] / "migrations"
"""Where the migrations lie unless told otherwise: beside the package ``server``."""

LOCK_SECONDS = 120.0
"""How long a runner waits for another one to end."""

_LOCK_KEY = 0x6772656E
_POLL_SECONDS = 0.05
_TEMPLATE = '''"""{title}."""

from typing import Any

import peewee


def up(migrator: Any, db: peewee.Database) -> None:
    """What changes. It must serve SQLite and PostgreSQL, and the release before this one."""


def down(migrator: Any, db: peewee.Database) -> None:
    """How it is taken back."""
'''


class SchemaError(Exception):
    """The schema cannot be used or changed; the text says in one line what to do."""


class SchemaOutdated(SchemaError):
    """Migrations are pending, or the database is ahead of this release."""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """One migration: pending if ``applied`` is ``None``, of another release if not ``known``."""

    name: str
    applied: datetime | None
    known: bool = True


def migrate(
    database_url: str, directory: Path | None = None, *, lock_seconds: float = LOCK_SECONDS
) -> list[str]:
    """Applies what is pending, in order, each in a transaction; returns the names.

    Runners that start together take turns, and each finds what the one before has left. One that is
    killed leaves whole migrations only, and the next one goes on from there.
    """
    with _alone(database_url, lock_seconds) as database:
        applied: list[str] = _runner(database, directory).up()
        if applied and isinstance(database, peewee.SqliteDatabase):
            # SQLite migrates with foreign keys off.
            broken = _executed(database, "PRAGMA foreign_key_check").fetchone()
            if broken:
                raise SchemaError(
                    f"A migration left {broken[0]} with a row that refers to nothing."
                )
        return applied


def revert(
    database_url: str, directory: Path | None = None, *, lock_seconds: float = LOCK_SECONDS
) -> list[str]:
    """Takes back the migration that was applied last; returns its name in a list."""
    with _alone(database_url, lock_seconds) as database:
        reverted: list[str] = _runner(database, directory).down()
        return reverted


def status(database_url: str, directory: Path | None = None) -> list[MigrationState]:
    """All migrations that there are files or records of, in order."""
    with _connected(database_url) as database:
        return [
            MigrationState(row.name, row.applied, row.path is not None)
            for row in _runner(database, directory).status()
        ]


def require_current(database_url: str, directory: Path | None = None) -> None:
    """Raises :class:`SchemaOutdated` unless exactly the migrations of this release are applied."""
    if database_url.startswith("sqlite:") and not sqlite_path(database_url).exists():
        raise SchemaOutdated("There is no database yet: run `make migrate`.")
    states = status(database_url, directory)
    pending = [state.name for state in states if state.applied is None]
    if pending:
        raise SchemaOutdated(
            f"The database lacks {len(pending)} migration(s), from {pending[0]} on: "
            "run `make migrate`."
        )
    unknown = [state.name for state in states if not state.known]
    if unknown:
        raise SchemaOutdated(
            f"The database has {unknown[-1]}, which this release does not know: "
            "run a newer release, or revert it with the one that made it."
        )


def create(name: str, directory: Path | None = None) -> Path:
    """Writes the next, empty migration and returns its path. ``name`` says what it does."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise SchemaError("A migration needs a name, such as: make migration NAME=add_rooms")
    folder = directory or DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]_*.py")]
    path = folder / f"{max(numbers, default=0) + 1:04d}_{slug}.py"
    title = slug.replace("_", " ").capitalize()
    path.write_text(_TEMPLATE.format(title=title), encoding="utf-8")
    return path


def _runner(database: peewee.Database, directory: Path | None) -> Any:
    folder = directory or DIRECTORY
    if not folder.is_dir():
        raise SchemaError(f"There is no folder of migrations at {folder}.")
    return Runner(database, str(folder))


@contextmanager
def _connected(url: str) -> Iterator[peewee.Database]:
    database: peewee.Database
    if url.startswith("sqlite:"):
        path = sqlite_path(url)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = peewee.SqliteDatabase(str(path), pragmas=SQLITE_PRAGMAS)
    else:
        database = peewee.PostgresqlDatabase(url, application_name="greenroom-migrate")
    try:
        database.connect()
    except peewee.OperationalError as problem:
        raise SchemaError(f"The database cannot be reached: {str(problem).strip()}") from problem
    try:
        if isinstance(database, peewee.PostgresqlDatabase):
            # A statement that waits for a lock holds up all who queue behind it.
            _executed(database, "SET lock_timeout = '5s'")
        yield database
    finally:
        database.close()


@contextmanager
def _alone(url: str, seconds: float) -> Iterator[peewee.Database]:
    """A connection beside which nobody else migrates."""
    if url.startswith("sqlite:"):
        # First the lock: of those who open a new file at once, one makes it a file with a write-ahead
        # log, and SQLite tells the others that it is locked.
        with _file_lock(url, seconds), _connected(url) as database:
            yield database
    else:
        with _connected(url) as database, _advisory_lock(url, database, seconds):
            yield database


@contextmanager
def _file_lock(url: str, seconds: float) -> Iterator[None]:
    path = sqlite_path(url)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_name(path.name + ".migrate"), os.O_RDWR | os.O_CREAT, 0o600)
    try:

        def attempt() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        _poll(attempt, seconds)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _advisory_lock(url: str, database: peewee.Database, seconds: float) -> Iterator[None]:
    """Two locks. The one on a connection of its own outlives whatever a migration does to the other
    connection. The one on the working connection is held by the statement that a killed runner may
    have left running in the server, so that nobody starts beside it.

    Both are polled for: a statement that waits inside the server would hold a snapshot, and
    ``CREATE INDEX CONCURRENTLY`` would wait for it for ever.
    """
    guard = psycopg2.connect(url, application_name="greenroom-migrate-lock")
    guard.autocommit = True
    try:
        with guard.cursor() as cursor:

            def attempt_guard() -> bool:
                cursor.execute("SELECT pg_try_advisory_lock(%s, 1)", (_LOCK_KEY,))
                return cursor.fetchone() == (True,)

            def attempt_working() -> bool:
                found = _executed(database, "SELECT pg_try_advisory_lock(%s, 2)", (_LOCK_KEY,))
                return bool(found.fetchone()[0])

            _poll(attempt_guard, seconds)
            _poll(attempt_working, seconds)
            yield
    finally:
        guard.close()


def _executed(database: Any, sql: str, parameters: tuple[object, ...] = ()) -> Any:
    return database.execute_sql(sql, parameters)


def _poll(attempt: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > until:
            raise SchemaError(f"Another migration has been running for {seconds:.0f} s; try later.")
        time.sleep(_POLL_SECONDS)
