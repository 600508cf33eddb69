"""Indexes for reading the audit log newest first, by who, what and on what."""

from typing import Any

import peewee

_OLD = {
    "audit_events_actor": "(actor_id, id)",
    "audit_events_action": "(action, id)",
}

_NEW = {
    "audit_events_time": "(create_time, id)",
    "audit_events_actor_time": "(actor_id, create_time, id)",
    "audit_events_action_time": "(action, create_time, id)",
    "audit_events_resource_time": "(resource, create_time, id)",
}


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes them, and drops those that were for an order by id."""
    _exchange(db, _OLD, _NEW)


def down(migrator: Any, db: peewee.Database) -> None:
    """Puts the old ones back."""
    _exchange(db, _NEW, _OLD)


def _exchange(db: peewee.Database, dropped: dict[str, str], made: dict[str, str]) -> None:
    for name in dropped:
        db.execute_sql(f"DROP INDEX {name}")
    for name, columns in made.items():
        db.execute_sql(f"CREATE INDEX {name} ON audit_events {columns}")
