"""Users, roles, credentials, and the sign-ups that wait for their address to be proven."""

from typing import Any

import peewee

_TABLES = (
    """
    CREATE TABLE users (
        id TEXT NOT NULL PRIMARY KEY,
        email TEXT UNIQUE CHECK (email = lower(email)),
        email_verified_at BIGINT,
        phone TEXT UNIQUE,
        phone_verified_at BIGINT,
        username TEXT UNIQUE,
        display_name TEXT NOT NULL DEFAULT '',
        first_name TEXT,
        last_name TEXT,
        avatar_url TEXT,
        avatar_media_id TEXT,
        cover_url TEXT,
        status TEXT NOT NULL DEFAULT 'PENDING'
            CHECK (status IN ('PENDING', 'ACTIVE', 'SUSPENDED', 'BANNED', 'DELETED')),
        status_reason TEXT,
        suspended_until BIGINT,
        primary_role TEXT,
        signup_provider TEXT NOT NULL DEFAULT 'email',
        access_level TEXT NOT NULL DEFAULT 'NONE'
            CHECK (access_level IN ('NONE', 'VIEW', 'COMMENT', 'UPLOAD', 'PUBLISH', 'MANAGE')),
        allowed_channels TEXT NOT NULL DEFAULT '[]',
        onboarding_completed BOOLEAN NOT NULL DEFAULT FALSE,
        onboarding_step INTEGER NOT NULL DEFAULT 0 CHECK (onboarding_step >= 0),
        last_login_at BIGINT,
        last_online_at BIGINT,
        deleted_at BIGINT,
        purge_at BIGINT,
        legacy_source TEXT,
        legacy_id TEXT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK (
            email IS NOT NULL OR phone IS NOT NULL
            OR signup_provider NOT IN ('email', 'phone') OR status = 'DELETED'
        ),
        UNIQUE (legacy_source, legacy_id)
    )
    """,
    "CREATE INDEX users_update_time ON users (update_time)",
    """
    CREATE TABLE roles (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('PERSONA', 'STAFF', 'SYSTEM')),
        permissions TEXT NOT NULL DEFAULT '[]',
        legacy_source TEXT,
        legacy_id TEXT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE user_roles (
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        role_id TEXT NOT NULL REFERENCES roles (id) ON DELETE RESTRICT,
        granted_by TEXT REFERENCES users (id) ON DELETE SET NULL,
        create_time BIGINT NOT NULL,
        PRIMARY KEY (user_id, role_id)
    )
    """,
    "CREATE INDEX user_roles_role ON user_roles (role_id)",
    "CREATE INDEX user_roles_granted_by ON user_roles (granted_by)",
    """
    CREATE TABLE credentials (
        user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
        password_hash TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        password_changed_at BIGINT NOT NULL,
        must_change BOOLEAN NOT NULL DEFAULT FALSE,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE registrations (
        id TEXT NOT NULL PRIMARY KEY,
        email TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        name TEXT NOT NULL DEFAULT '',
        info TEXT NOT NULL DEFAULT '',
        role TEXT NOT NULL,
        language TEXT NOT NULL DEFAULT '',
        ip TEXT NOT NULL DEFAULT '',
        status TEXT NOT NULL DEFAULT 'PENDING'
            CHECK (status IN ('PENDING', 'ACTIVATED', 'SUPERSEDED', 'REJECTED')),
        user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
        expires_at BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX registrations_email ON registrations (email, status, id)",
    "CREATE INDEX registrations_user ON registrations (user_id)",
    "CREATE INDEX registrations_expires ON registrations (expires_at)",
    """
    CREATE TABLE verification_tokens (
        id TEXT NOT NULL PRIMARY KEY,
        identifier TEXT NOT NULL,
        token_hash TEXT NOT NULL UNIQUE,
        purpose TEXT NOT NULL CHECK (
            purpose IN ('VERIFY_EMAIL', 'RESET_PASSWORD', 'CHANGE_EMAIL', 'MAGIC_LINK', 'INVITE')
        ),
        registration_id TEXT REFERENCES registrations (id) ON DELETE CASCADE,
        user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
        metadata TEXT NOT NULL DEFAULT '{}',
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX verification_tokens_identifier ON verification_tokens (identifier, purpose)",
    "CREATE INDEX verification_tokens_registration ON verification_tokens (registration_id)",
    "CREATE INDEX verification_tokens_user ON verification_tokens (user_id)",
    "CREATE INDEX verification_tokens_expires ON verification_tokens (expires_at)",
)

_SEEDED_AT = 1_763_683_200_000_000

_ROLES = (
    ("creator", "PERSONA", "[]"),
    ("editor", "PERSONA", "[]"),
    ("brand", "PERSONA", "[]"),
    ("student", "PERSONA", "[]"),
    ("teacher", "PERSONA", "[]"),
    ("agent", "STAFF", '["auth.users.read","support.tickets.answer"]'),
    ("staff_editor", "STAFF", '["content.read","content.write"]'),
    ("viewer", "STAFF", '["auth.users.read","content.read"]'),
    (
        "admin",
        "STAFF",
        '["auth.audit.read","auth.registrations.write","auth.sessions.revoke","auth.users.read",'
        '"auth.users.write","content.read","content.write","support.tickets.answer"]',
    ),
    (
        "super_admin",
        "STAFF",
        '["auth.audit.read","auth.registrations.write","auth.roles.write","auth.sessions.revoke",'
        '"auth.users.read","auth.users.write","content.read","content.write",'
        '"support.tickets.answer"]',
    ),
    ("service", "SYSTEM", "[]"),
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables."""
    for statement in _TABLES:
        db.execute_sql(statement)
    for number, (name, kind, permissions) in enumerate(_ROLES, start=1):
        db.execute_sql(
            "INSERT INTO roles (id, name, kind, permissions, create_time, update_time)"
            f" VALUES ('019a9f00-0000-7000-8000-{number:012x}', '{name}', '{kind}',"
            f" '{permissions}', {_SEEDED_AT}, {_SEEDED_AT})"
        )


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops them."""
    for table in (
        "verification_tokens",
        "registrations",
        "credentials",
        "user_roles",
        "roles",
        "users",
    ):
        db.execute_sql(f"DROP TABLE {table}")
