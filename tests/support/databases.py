"""Databases for tests: fresh, migrated, of both kinds, and cheap because they copy a template.

``TEST_DATABASE_URL`` names a PostgreSQL to use instead of starting one; its role must be allowed to
create databases.
"""

import atexit
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest

from server.core import schema
from tests.support.folders import database_folder
from tests.support.postgres import PostgresMissing, PostgresServer, postgres_server
from tests.support.recycling import Recycler

KINDS = ("sqlite", "postgresql")


class _Templates:
    """One server, one folder and one migrated template of each kind, for the whole test session."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._folders: dict[bool, Path] = {}
        self._sqlite: Path | None = None
        self._maintenance = ""
        self._template = ""
        self._missing = ""
        self.server: PostgresServer | None = None
        self.recycler = Recycler()
        atexit.register(self._stack.close)

    def folder(self, *, on_disk: bool = False) -> Path:
        """Where the SQLite files of this session lie."""
        with self._lock:
            if on_disk not in self._folders:
                folder = database_folder("greenroom-tests-", on_disk=on_disk)
                self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
                self._folders[on_disk] = folder
            return self._folders[on_disk]

    def sqlite(self) -> Path:
        """A migrated file, with nothing left in a write-ahead log beside it."""
        folder = self.folder()
        with self._lock:
            if self._sqlite is None:
                path = folder / "template.db"
                schema.migrate(f"sqlite:///{path}")
                connection = sqlite3.connect(path)
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
                self._sqlite = path
            return self._sqlite

    def maintenance(self) -> str:
        """The URL to create databases over; starts the server the first time."""
        with self._lock:
            if self._missing:
                raise PostgresMissing(self._missing)
            if not self._maintenance:
                try:
                    self._maintenance = os.environ.get("TEST_DATABASE_URL") or self._started()
                except PostgresMissing as reason:
                    self._missing = str(reason)
                    raise
            return self._maintenance

    def postgresql(self) -> str:
        """The name of a migrated database that others are copied from."""
        maintenance = self.maintenance()
        with self._lock:
            if not self._template:
                name = f"greenroom_template_{uuid.uuid4().hex[:12]}"
                _execute(maintenance, f'CREATE DATABASE "{name}"')
                self._stack.callback(self._drop_all, name)
                schema.migrate(_at(maintenance, name))
                self.recycler.remember(_at(maintenance, name))
                self._template = name
            return self._template

    def _drop_all(self, template: str) -> None:
        """Leaves nothing behind on a server that outlives the session."""
        if self.server is None:
            for name in [template, *(_name_of(url) for url in self.recycler.spare())]:
                _drop(self._maintenance, name)

    def _started(self) -> str:
        self.server = self._stack.enter_context(postgres_server())
        return self.server.url


_templates = _Templates()


def fresh_database(kind: str, *, migrated: bool = True, on_disk: bool = False) -> str:
    """The URL of a new database of one kind; :func:`drop_database` removes it. ``on_disk`` keeps a file
    of SQLite out of memory, where the suite would have it; PostgreSQL is one server for all.

    Raises ``PostgresMissing`` where there is no PostgreSQL.
    """
    name = f"greenroom_{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        path = _templates.folder(on_disk=on_disk) / name / "greenroom.db"
        path.parent.mkdir()
        if migrated:
            shutil.copyfile(_templates.sqlite(), path)
        return f"sqlite:///{path}"
    template = ""
    if migrated:
        template = f' TEMPLATE "{_templates.postgresql()}"'
        used = _templates.recycler.take()
        if used is not None:
            return used
    maintenance = _templates.maintenance()
    _execute(maintenance, f'CREATE DATABASE "{name}"{template}')
    return _at(maintenance, name)


def drop_database(url: str) -> None:
    """Gives back what :func:`fresh_database` made, whoever is still connected to it."""
    if url.startswith("sqlite:"):
        shutil.rmtree(Path(urlsplit(url).path[1:]).parent, ignore_errors=True)
    elif not _templates.recycler.give_back(url):
        _drop(_templates.maintenance(), _name_of(url))


def running_server() -> PostgresServer | None:
    """The PostgreSQL that this session has started, ``None`` when it uses another one."""
    return _templates.server


def require(kind: str) -> None:
    """Skips the test, with the reason, where there is no database of this kind."""
    if kind == "postgresql":
        try:
            _templates.maintenance()
        except PostgresMissing as reason:
            pytest.skip(str(reason))


@pytest.fixture(scope="session", params=KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database in turn."""
    kind: str = request.param
    require(kind)
    return kind


@pytest.fixture
def database_url(database_kind: str) -> Iterator[str]:
    """A fresh, migrated database for one test."""
    url = fresh_database(database_kind)
    yield url
    drop_database(url)


@pytest.fixture
def empty_database_url(database_kind: str) -> Iterator[str]:
    """A fresh database without any table, for one test."""
    url = fresh_database(database_kind, migrated=False)
    yield url
    drop_database(url)


def _at(maintenance: str, name: str) -> str:
    return urlunsplit(urlsplit(maintenance)._replace(path=f"/{name}"))


def _name_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def _drop(maintenance: str, name: str) -> None:
    _execute(maintenance, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _execute(url: str, sql: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()
