"""Second factors: authenticator apps, backup codes, what stands between a first factor and a session,
and when the privilege of a session changed."""

from typing import Any

import peewee

_STATEMENTS = (
    """
    CREATE TABLE mfa_factors (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        kind TEXT NOT NULL DEFAULT 'TOTP' CHECK (kind IN ('TOTP')),
        label TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'ACTIVE')),
        secret_enc TEXT NOT NULL,
        last_used_step BIGINT,
        last_used_at BIGINT,
        activated_at BIGINT,
        expires_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK ((status = 'ACTIVE') = (activated_at IS NOT NULL)),
        CHECK ((status = 'PENDING') = (expires_at IS NOT NULL))
    )
    """,
    "CREATE INDEX mfa_factors_user ON mfa_factors (user_id, id)",
    "CREATE INDEX mfa_factors_expires ON mfa_factors (expires_at)",
    """
    CREATE TABLE recovery_codes (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        code_hash TEXT NOT NULL UNIQUE,
        used_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX recovery_codes_user ON recovery_codes (user_id)",
    """
    CREATE TABLE mfa_challenges (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        token_hash TEXT NOT NULL UNIQUE,
        method TEXT NOT NULL,
        device_info TEXT NOT NULL DEFAULT '',
        ip TEXT NOT NULL DEFAULT '',
        user_agent TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX mfa_challenges_user ON mfa_challenges (user_id)",
    "CREATE INDEX mfa_challenges_expires ON mfa_challenges (expires_at)",
    # Counted for the account and the kind of code: no challenge, password or enrolment clears it.
    """
    CREATE TABLE mfa_tries (
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        kind TEXT NOT NULL CHECK (kind IN ('TOTP', 'BACKUP_CODE')),
        failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
        last_at BIGINT,
        blocked_until BIGINT,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (user_id, kind)
    )
    """,
    "ALTER TABLE sessions ADD COLUMN privilege_changed_at BIGINT",
    "CREATE INDEX sessions_privilege_changed ON sessions (privilege_changed_at)",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables and the column."""
    for statement in _STATEMENTS:
        db.execute_sql(statement)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops them."""
    db.execute_sql("DROP INDEX sessions_privilege_changed")
    db.execute_sql("ALTER TABLE sessions DROP COLUMN privilege_changed_at")
    for table in ("mfa_tries", "mfa_challenges", "recovery_codes", "mfa_factors"):
        db.execute_sql(f"DROP TABLE {table}")
