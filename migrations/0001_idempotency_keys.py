"""Idempotency keys: the first reply to a request id, kept with the effect it reports."""

from typing import Any

import peewee


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the table."""
    blob = "BYTEA" if isinstance(db, peewee.PostgresqlDatabase) else "BLOB"
    db.execute_sql(f"""
        CREATE TABLE idempotency_keys (
            caller VARCHAR(120) NOT NULL,
            method VARCHAR(200) NOT NULL,
            request_id VARCHAR(64) NOT NULL,
            fingerprint {blob} NOT NULL,
            response {blob},
            create_time BIGINT NOT NULL,
            expire_time BIGINT NOT NULL,
            PRIMARY KEY (caller, method, request_id)
        )
    """)
    db.execute_sql("CREATE INDEX idempotency_keys_expire_time ON idempotency_keys (expire_time)")


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops the table."""
    db.execute_sql("DROP TABLE idempotency_keys")
