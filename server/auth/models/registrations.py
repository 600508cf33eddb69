"""Sign-ups, and the secrets that mails carry."""

from datetime import datetime

from peewee import (
    ForeignKeyField,
    ModelSelect,
    TextField,
)

from server.auth.models.accounts import User
from server.auth.rules import RegistrationStatus
from server.core.db import JsonField, Row, TimestampField


class Registration(Row):
    """A sign-up. The password is its own: it becomes the account's only when the token of this very
    sign-up is proven, so that nobody can prepare a password for somebody else's address."""

    email = TextField()
    password_hash = TextField()
    algorithm = TextField()
    name = TextField(default="")
    info = TextField(default="")
    role = TextField()
    language = TextField(default="")
    ip = TextField(default="")
    status = TextField(default=RegistrationStatus.PENDING)
    user = ForeignKeyField(User, null=True)
    user_id: str | None
    expires_at = TimestampField()

    class Meta:
        table_name = "registrations"

    @classmethod
    def waiting_for(cls, email: str, now: datetime) -> "ModelSelect[Registration]":
        """Unproven sign-ups of a folded address, newest first."""
        return (
            cls.select()
            .where(
                (cls.email == email)
                & (cls.status == RegistrationStatus.PENDING)
                & (cls.expires_at > now)
            )
            .order_by(cls.id.desc())
        )


class VerificationToken(Row):
    """A mailed secret, as its SHA-256; ``identifier`` is the address that it proves."""

    identifier = TextField()
    token_hash = TextField(unique=True)
    purpose = TextField()
    registration = ForeignKeyField(Registration, null=True)
    registration_id: str | None
    user = ForeignKeyField(User, null=True)
    metadata = JsonField(default=dict)
    expires_at = TimestampField()
    consumed_at = TimestampField(null=True)

    class Meta:
        table_name = "verification_tokens"
