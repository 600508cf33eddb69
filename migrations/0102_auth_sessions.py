"""Sessions, refresh tokens, and the counts that slow down guessing and flooding."""

from typing import Any

import peewee

_TABLES = (
    """
    CREATE TABLE sessions (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        device_info TEXT NOT NULL DEFAULT '',
        is_revoked BOOLEAN NOT NULL DEFAULT FALSE,
        revoked_at BIGINT,
        revoked_reason TEXT,
        expires_at BIGINT NOT NULL,
        absolute_expires_at BIGINT NOT NULL,
        token_id TEXT,
        token_version INTEGER NOT NULL DEFAULT 1,
        last_active_at BIGINT NOT NULL,
        metadata TEXT NOT NULL DEFAULT '{}',
        refresh_token_family TEXT UNIQUE,
        last_refresh_at BIGINT,
        refresh_count INTEGER NOT NULL DEFAULT 0,
        session_token_hash TEXT UNIQUE,
        auth_methods TEXT NOT NULL DEFAULT '[]',
        assurance_level INTEGER NOT NULL DEFAULT 1 CHECK (assurance_level BETWEEN 1 AND 3),
        privileged_until BIGINT,
        ip TEXT NOT NULL DEFAULT '',
        user_agent TEXT NOT NULL DEFAULT '',
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK (is_revoked = (revoked_at IS NOT NULL))
    )
    """,
    "CREATE INDEX sessions_user ON sessions (user_id, last_active_at, id)",
    "CREATE INDEX sessions_revoked ON sessions (revoked_at)",
    "CREATE INDEX sessions_expires ON sessions (expires_at)",
    """
    CREATE TABLE refresh_tokens (
        id TEXT NOT NULL PRIMARY KEY,
        session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        family TEXT NOT NULL,
        token_hash TEXT NOT NULL UNIQUE,
        successor_id TEXT UNIQUE,
        successor_sealed TEXT,
        used_at BIGINT,
        expires_at BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK ((used_at IS NULL) = (successor_id IS NULL))
    )
    """,
    "CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id)",
    "CREATE INDEX refresh_tokens_expires ON refresh_tokens (expires_at)",
    # At most one live token a family: the database itself refuses a fork.
    "CREATE UNIQUE INDEX refresh_tokens_live ON refresh_tokens (family) WHERE used_at IS NULL",
    "CREATE INDEX refresh_tokens_sealed ON refresh_tokens (used_at)"
    " WHERE successor_sealed IS NOT NULL",
    """
    CREATE TABLE login_attempts (
        subject TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('ACCOUNT', 'ADDRESS')),
        failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
        last_at BIGINT,
        blocked_until BIGINT,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX login_attempts_update_time ON login_attempts (update_time)",
    """
    CREATE TABLE contact_sends (
        contact TEXT NOT NULL PRIMARY KEY,
        recent TEXT NOT NULL DEFAULT '[]',
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX contact_sends_update_time ON contact_sends (update_time)",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables."""
    for statement in _TABLES:
        db.execute_sql(statement)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops them."""
    for table in ("contact_sends", "login_attempts", "refresh_tokens", "sessions"):
        db.execute_sql(f"DROP TABLE {table}")
