"""Passkeys (WebAuthn), and the challenges that are to be signed with them."""

from typing import Any

import peewee

_TABLES = (
    """
    CREATE TABLE passkeys (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        user_handle TEXT NOT NULL,
        credential_id TEXT NOT NULL UNIQUE,
        public_key TEXT NOT NULL,
        sign_count BIGINT NOT NULL DEFAULT 0 CHECK (sign_count >= 0),
        transports TEXT NOT NULL DEFAULT '[]',
        aaguid TEXT NOT NULL DEFAULT '',
        label TEXT NOT NULL DEFAULT '',
        backup_eligible BOOLEAN NOT NULL DEFAULT FALSE,
        backed_up BOOLEAN NOT NULL DEFAULT FALSE,
        user_verified BOOLEAN NOT NULL DEFAULT FALSE,
        last_used_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK (backup_eligible OR NOT backed_up)
    )
    """,
    "CREATE INDEX passkeys_user ON passkeys (user_id, id)",
    """
    CREATE TABLE passkey_challenges (
        id TEXT NOT NULL PRIMARY KEY,
        challenge_hash TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('REGISTRATION', 'LOG_IN')),
        discoverable BOOLEAN NOT NULL DEFAULT FALSE,
        user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
        session_id TEXT REFERENCES sessions (id) ON DELETE CASCADE,
        user_handle TEXT,
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK (
            kind <> 'REGISTRATION'
            OR (user_id IS NOT NULL AND session_id IS NOT NULL AND user_handle IS NOT NULL)
        ),
        CHECK (NOT discoverable OR user_id IS NULL)
    )
    """,
    "CREATE INDEX passkey_challenges_user ON passkey_challenges (user_id)",
    "CREATE INDEX passkey_challenges_session ON passkey_challenges (session_id)",
    "CREATE INDEX passkey_challenges_expires ON passkey_challenges (expires_at)",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables."""
    for statement in _TABLES:
        db.execute_sql(statement)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops them."""
    for table in ("passkey_challenges", "passkeys"):
        db.execute_sql(f"DROP TABLE {table}")
