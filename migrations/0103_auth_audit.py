"""The audit log and the head of its hash chain."""

from typing import Any

import peewee

_TABLES = (
    # No foreign keys: an audit row outlives what it tells of.
    """
    CREATE TABLE audit_events (
        id TEXT NOT NULL PRIMARY KEY,
        create_time BIGINT NOT NULL,
        actor_kind TEXT NOT NULL,
        actor_id TEXT,
        session_id TEXT,
        action TEXT NOT NULL,
        resource TEXT NOT NULL DEFAULT '',
        result TEXT NOT NULL,
        ip TEXT NOT NULL DEFAULT '',
        user_agent TEXT NOT NULL DEFAULT '',
        request_id TEXT NOT NULL DEFAULT '',
        method TEXT NOT NULL DEFAULT '',
        metadata TEXT NOT NULL DEFAULT '{}',
        seq BIGINT UNIQUE,
        prev_hash TEXT,
        hash TEXT,
        CHECK ((seq IS NULL) = (hash IS NULL) AND (seq IS NULL) = (prev_hash IS NULL))
    )
    """,
    "CREATE INDEX audit_events_unsealed ON audit_events (id) WHERE seq IS NULL",
    "CREATE INDEX audit_events_actor ON audit_events (actor_id, id)",
    "CREATE INDEX audit_events_action ON audit_events (action, id)",
    """
    CREATE TABLE audit_chain (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        seq BIGINT NOT NULL,
        hash TEXT NOT NULL
    )
    """,
    "INSERT INTO audit_chain (id, seq, hash) VALUES (1, 0, '')",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables."""
    for statement in _TABLES:
        db.execute_sql(statement)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops them."""
    for table in ("audit_chain", "audit_events"):
        db.execute_sql(f"DROP TABLE {table}")
