"""One-time codes and the counts of wrong ones; sign-ups by phone."""

from typing import Any

import peewee

_TABLES = (
    """
    CREATE TABLE otps (
        id TEXT NOT NULL PRIMARY KEY,
        destination TEXT NOT NULL,
        channel TEXT NOT NULL CHECK (channel IN ('SMS', 'EMAIL')),
        purpose TEXT NOT NULL CHECK (
            purpose IN ('SIGN_IN', 'VERIFY_PHONE', 'CHANGE_PHONE', 'MAGIC_LINK')
        ),
        code_hash TEXT UNIQUE,
        verification_sid TEXT,
        user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
        registration_id TEXT REFERENCES registrations (id) ON DELETE CASCADE,
        reference TEXT,
        metadata TEXT DEFAULT '{}',
        attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        verified BOOLEAN NOT NULL DEFAULT FALSE,
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK (NOT verified OR consumed_at IS NOT NULL)
    )
    """,
    "CREATE INDEX otps_destination ON otps (destination, expires_at)",
    "CREATE INDEX otps_user ON otps (user_id)",
    "CREATE INDEX otps_registration ON otps (registration_id)",
    "CREATE INDEX otps_expires ON otps (expires_at)",
    # Counted for the account and for the destination: no new code clears it.
    """
    CREATE TABLE otp_tries (
        subject TEXT NOT NULL PRIMARY KEY,
        failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
        last_at BIGINT,
        blocked_until BIGINT,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX otp_tries_update_time ON otp_tries (update_time)",
)

# A column takes the other's place: SQLite can only lift NOT NULL by making the table anew, and to
# drop the old table would delete, by their foreign keys, the tokens that were mailed for its rows.
_BY_PHONE = (
    "DROP INDEX registrations_email",
    "ALTER TABLE registrations ADD COLUMN address TEXT",
    "UPDATE registrations SET address = email",
    "ALTER TABLE registrations DROP COLUMN email",
    "ALTER TABLE registrations RENAME COLUMN address TO email",
    "ALTER TABLE registrations ADD COLUMN phone TEXT CHECK ((email IS NULL) <> (phone IS NULL))",
    "CREATE INDEX registrations_email ON registrations (email, status, id)",
    "CREATE INDEX registrations_phone ON registrations (phone, status, id)",
)

_BY_EMAIL_ONLY = (
    "DROP INDEX registrations_phone",
    "DROP INDEX registrations_email",
    "DELETE FROM registrations WHERE email IS NULL",
    "ALTER TABLE registrations DROP COLUMN phone",
    "ALTER TABLE registrations ADD COLUMN address TEXT NOT NULL DEFAULT ''",
    "UPDATE registrations SET address = email",
    "ALTER TABLE registrations DROP COLUMN email",
    "ALTER TABLE registrations RENAME COLUMN address TO email",
    "CREATE INDEX registrations_email ON registrations (email, status, id)",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Lets sign-ups have a number instead of an address, and makes the tables."""
    for statement in (*_BY_PHONE, *_TABLES):
        db.execute_sql(statement)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops the tables, and with the numbers the sign-ups that have nothing else."""
    for table in ("otp_tries", "otps"):
        db.execute_sql(f"DROP TABLE {table}")
    for statement in _BY_EMAIL_ONLY:
        db.execute_sql(statement)
