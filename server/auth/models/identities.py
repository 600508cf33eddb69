"""Accounts at providers, and the authorisations that are on their way there."""

from datetime import datetime

from peewee import ForeignKeyField, ModelSelect, TextField

from server.auth.models.accounts import User
from server.auth.models.sessions import Session
from server.core.db import JsonField, Row, TimestampField


class Identity(Row):
    """An account at a provider that its user signs in with. It is the pair of ``issuer`` and
    ``provider_account_id``; what ends in ``_enc`` is sealed for this row (``sealed_tokens``)."""

    user = ForeignKeyField(User, backref="identities")
    user_id: str
    type = TextField()
    provider = TextField()
    provider_account_id = TextField()
    issuer = TextField(default="")
    refresh_token_enc = TextField(null=True)
    access_token_enc = TextField(null=True)
    expires_at = TimestampField(null=True)
    token_type = TextField(null=True)
    scope = TextField(null=True)
    id_token_enc = TextField(null=True)
    session_state = TextField(null=True)
    oauth_token_secret_enc = TextField(null=True)
    oauth_token_enc = TextField(null=True)
    profile = JsonField(default=dict)
    last_used_at = TimestampField(null=True)

    class Meta:
        table_name = "identities"

    @classmethod
    def for_user(cls, user_id: str) -> "ModelSelect[Identity]":
        """A user's identities."""
        return cls.select().where(cls.user == user_id)

    @classmethod
    def at_provider(cls, provider: str, account_id: str) -> "ModelSelect[Identity]":
        """The identity of an account at a provider."""
        return cls.select().where(
            (cls.provider == provider) & (cls.provider_account_id == account_id)
        )


class OAuthAuthorization(Row):
    """What the answer of a provider is checked against. State, binding and nonce are there as their
    SHA-256, the PKCE verifier is sealed for this row; ``user`` and ``session`` are those that a
    link was finished by."""

    provider = TextField()
    purpose = TextField()
    state_hash = TextField(unique=True)
    binding_hash = TextField()
    nonce_hash = TextField()
    verifier_enc = TextField()
    redirect_uri = TextField()
    persona = TextField(default="")
    language = TextField(default="")
    user = ForeignKeyField(User, null=True)
    user_id: str | None
    session = ForeignKeyField(Session, null=True)
    session_id: str | None
    ip = TextField(default="")
    expires_at = TimestampField()
    consumed_at = TimestampField(null=True)

    class Meta:
        table_name = "oauth_authorizations"

    def is_open(self, now: datetime) -> bool:
        """Whether an answer is still waited for."""
        return self.consumed_at is None and self.expires_at > now
