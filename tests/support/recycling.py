"""Used PostgreSQL databases, emptied instead of dropped: making one costs far more than a test."""

import threading
import time
from typing import Any

import psycopg2

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
_OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend'"
)
_LEAVING_SECONDS = 0.25
_HISTORY = "schema_migration"


class Recycler:
    """Takes back databases that still have the tables of their template and hands them out again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: list[str] = []
        self._seeds: dict[str, list[tuple[Any, ...]]] | None = None

    def remember(self, template: str) -> None:
        """Notes the rows that migrations have put into the template."""
        with psycopg2.connect(template) as connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            self._seeds = {}
            for (table,) in cursor.fetchall():
                cursor.execute(f'SELECT * FROM "{table}"')
                self._seeds[table] = cursor.fetchall()
        connection.close()

    def take(self) -> str | None:
        """The URL of a database as good as new, if there is one."""
        with self._lock:
            return self._spare.pop() if self._spare else None

    def spare(self) -> list[str]:
        """All that nobody uses at the moment."""
        return list(self._spare)

    def give_back(self, url: str) -> bool:
        """False when the database cannot be made as new: drop it."""
        try:
            connection = psycopg2.connect(url)
        except psycopg2.OperationalError:
            return False
        try:
            with connection, connection.cursor() as cursor:
                restored = self._restore(cursor)
        except psycopg2.Error:
            return False
        finally:
            connection.close()
        if restored:
            with self._lock:
                self._spare.append(url)
        return restored

    def _restore(self, cursor: Any) -> bool:
        if self._seeds is None or not _all_gone(cursor):
            return False
        cursor.execute(_TABLES)
        if [table for (table,) in cursor.fetchall()] != list(self._seeds):
            return False
        cursor.execute(f"SELECT * FROM {_HISTORY}")
        if cursor.fetchall() != self._seeds[_HISTORY]:
            return False
        # Without triggers, so that the order of the tables does not matter.
        steps = [
            b"SET LOCAL session_replication_role = replica",
            b"SET LOCAL lock_timeout = '2s'",
        ]
        for table, rows in self._seeds.items():
            if table == _HISTORY:
                continue
            steps.append(f'DELETE FROM "{table}"'.encode())
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                steps.append(cursor.mogrify(f'INSERT INTO "{table}" VALUES ({marks})', row))
        cursor.execute(b"; ".join(steps))
        return True


def _all_gone(cursor: Any) -> bool:
    """Whether nobody else is connected any more. Connections that were closed end by themselves in a
    moment; to end one takes PostgreSQL a tenth of a second."""
    until = time.monotonic() + _LEAVING_SECONDS
    while time.monotonic() < until:
        # What a transaction sees of other sessions stays as it was when it first looked.
        cursor.execute(f"SELECT pg_stat_clear_snapshot(); SELECT count(*) {_OTHERS}")
        if cursor.fetchone()[0] == 0:
            return True
        time.sleep(0.002)
    cursor.execute(f"SELECT pg_terminate_backend(pid, 2000) {_OTHERS}")
    return all(ended for (ended,) in cursor.fetchall())
