"""Keys of services, the authenticators of web frameworks, and the permissions that go with both."""

import json
from typing import Any

import peewee

_TABLES = (
    """
    CREATE TABLE api_keys (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        prefix TEXT NOT NULL UNIQUE,
        key_hash TEXT NOT NULL UNIQUE,
        scopes TEXT NOT NULL DEFAULT '[]',
        expires_at BIGINT NOT NULL,
        last_used_at BIGINT,
        revoked_at BIGINT,
        revoked_by TEXT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX api_keys_user ON api_keys (user_id, id)",
    "CREATE INDEX api_keys_expires ON api_keys (expires_at)",
    "CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL",
    """
    CREATE TABLE web_authenticators (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        credential_id TEXT NOT NULL UNIQUE,
        provider_account_id TEXT NOT NULL,
        credential_public_key TEXT NOT NULL,
        counter BIGINT NOT NULL DEFAULT 0 CHECK (counter >= 0),
        credential_device_type TEXT NOT NULL DEFAULT '',
        credential_backed_up BOOLEAN NOT NULL DEFAULT FALSE,
        transports TEXT NOT NULL DEFAULT '',
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX web_authenticators_user ON web_authenticators (user_id, id)",
)

_ADDED = {"auth.tokens.introspect", "auth.web_storage"}


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables, and gives the permissions to super_admin alone."""
    for statement in _TABLES:
        db.execute_sql(statement)
    _set_permissions(db, lambda held: held | _ADDED)


def _set_permissions(db: peewee.Database, change: Any) -> None:
    mark = db.param
    found = db.execute_sql("SELECT permissions FROM roles WHERE name = 'super_admin'")
    permissions = sorted(change(set(json.loads(found.fetchone()[0]))))
    db.execute_sql(
        f"UPDATE roles SET permissions = {mark} WHERE name = 'super_admin'",
        (json.dumps(permissions, separators=(",", ":")),),
    )


def down(migrator: Any, db: peewee.Database) -> None:
    """Takes it all away."""
    _set_permissions(db, lambda held: held - _ADDED)
    for table in ("web_authenticators", "api_keys"):
        db.execute_sql(f"DROP TABLE {table}")
