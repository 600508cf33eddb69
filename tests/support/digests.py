"""Whether anything in the database has changed."""

import hashlib
from functools import cache
from typing import Any

from server.core.db import database
from server.core.unit import Unit

NOT_COUNTED = frozenset(
    {
        "audit_events",
        "audit_chain",
        "login_attempts",
        "mfa_tries",
        "otp_tries",
        "contact_sends",
        "jobs",
        "chat_presence",
    }
)
"""The traces that a refused call may leave: its audit row, and the counts of tries. And who has a live
stream, which is written down a moment after it was opened."""

VIRTUAL = frozenset({"chat_search"})
"""Tables of SQLite that have no rows of their own; those that hold theirs are counted."""

SEEN = frozenset({"last_active_at", "last_online_at", "last_used_at"})
"""Columns that tell when somebody was seen; written now and then, whatever they called."""


@cache
def _columns(_kind: str) -> dict[str, str]:
    """What is read of every table, by its name; asked for once, since PostgreSQL takes its time."""
    listed = {}
    for table in sorted(set(database.get_tables()) - NOT_COUNTED - VIRTUAL):
        kept = {column.name for column in database.get_columns(table)} - SEEN
        listed[table] = ", ".join(f'"{name}"' for name in sorted(kept))
    return listed


def table_digests(_unit: Unit) -> dict[str, str]:
    """Of every table but those above, by name."""
    found = {}
    for table, columns in _columns(database.kind).items():
        rows: Any = database.execute_sql(f'SELECT {columns} FROM "{table}"').fetchall()
        text = "\n".join(sorted(repr(row) for row in rows))
        found[table] = hashlib.sha256(text.encode()).hexdigest()
    return found
