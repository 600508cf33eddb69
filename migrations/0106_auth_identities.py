"""Accounts at providers that people sign in with, and the authorisations that are on their way there."""

from typing import Any

import peewee

_TABLES = (
    """
    CREATE TABLE identities (
        id TEXT NOT NULL PRIMARY KEY,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        type TEXT NOT NULL CHECK (type IN ('oauth', 'oidc', 'email', 'webauthn')),
        provider TEXT NOT NULL,
        provider_account_id TEXT NOT NULL,
        issuer TEXT NOT NULL DEFAULT '',
        refresh_token_enc TEXT,
        access_token_enc TEXT,
        expires_at BIGINT,
        token_type TEXT,
        scope TEXT,
        id_token_enc TEXT,
        session_state TEXT,
        oauth_token_secret_enc TEXT,
        oauth_token_enc TEXT,
        profile TEXT NOT NULL DEFAULT '{}',
        last_used_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        UNIQUE (provider, provider_account_id)
    )
    """,
    "CREATE INDEX identities_user ON identities (user_id, id)",
    """
    CREATE TABLE oauth_authorizations (
        id TEXT NOT NULL PRIMARY KEY,
        provider TEXT NOT NULL,
        purpose TEXT NOT NULL CHECK (purpose IN ('SIGN_IN', 'LINK')),
        state_hash TEXT NOT NULL UNIQUE,
        binding_hash TEXT NOT NULL,
        nonce_hash TEXT NOT NULL,
        verifier_enc TEXT NOT NULL,
        redirect_uri TEXT NOT NULL,
        persona TEXT NOT NULL DEFAULT '',
        language TEXT NOT NULL DEFAULT '',
        user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
        session_id TEXT REFERENCES sessions (id) ON DELETE CASCADE,
        ip TEXT NOT NULL DEFAULT '',
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX oauth_authorizations_user ON oauth_authorizations (user_id)",
    "CREATE INDEX oauth_authorizations_session ON oauth_authorizations (session_id)",
    "CREATE INDEX oauth_authorizations_expires ON oauth_authorizations (expires_at)",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Makes the tables."""
    for statement in _TABLES:
        db.execute_sql(statement)


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops them."""
    for table in ("oauth_authorizations", "identities"):
        db.execute_sql(f"DROP TABLE {table}")
