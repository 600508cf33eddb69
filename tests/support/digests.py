"""Whether anything in the database has changed."""

import hashlib
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


def table_digests(_unit: Unit) -> dict[str, str]:
    """Of every table but those above, by name."""
    found = {}
    for table in sorted(set(database.get_tables()) - NOT_COUNTED - VIRTUAL):
        columns = [column.name for column in database.get_columns(table)]
        kept = sorted(set(columns) - SEEN)
        listed = ", ".join(f'"{name}"' for name in kept)
        rows: Any = database.execute_sql(f'SELECT {listed} FROM "{table}"').fetchall()
        text = "\n".join(sorted(repr(row) for row in rows))
        found[table] = hashlib.sha256(text.encode()).hexdigest()
    return found
