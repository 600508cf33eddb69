"""Sign-ups, and the secrets that mails carry."""

from datetime import datetime
from typing import Any

from peewee import (
    ForeignKeyField,
    ModelSelect,
    TextField,
)

from server.auth.models.accounts import User
from server.auth.rules import RegistrationStatus, search_text_of
from server.core.db import JsonField, Row, TimestampField


class Registration(Row):
    """A sign-up by ``email`` or by ``phone``. The password is its own: it becomes the account's only
    when the token or the code of this very sign-up is proven, so that nobody can prepare a password
    for somebody else's address or number."""

    email = TextField(null=True)
    phone = TextField(null=True)
    password_hash = TextField()
    algorithm = TextField()
    name = TextField(default="")
    username = TextField(null=True)
    info = TextField(default="")
    role = TextField()
    language = TextField(default="")
    ip = TextField(default="")
    status = TextField(default=RegistrationStatus.PENDING)
    user = ForeignKeyField(User, null=True)
    user_id: str | None
    expires_at = TimestampField()
    search_text = TextField(default="")
    reason = TextField(default="")
    decided_by = TextField(null=True)
    decided_at = TimestampField(null=True)

    class Meta:
        table_name = "registrations"

    def save(self, force_insert: bool = False, only: Any = None) -> int | bool:
        """As any row; a new one gets the text that a search looks at."""
        if force_insert:
            self.search_text = search_text_of(self.name, self.email, self.phone, self.username)
        return super().save(force_insert=force_insert, only=only)

    @property
    def kind(self) -> str:
        """What was signed up with: ``email`` or ``phone``."""
        return "phone" if self.email is None else "email"

    @property
    def contact(self) -> str:
        """The folded address, or the number in E.164."""
        return str(getattr(self, self.kind))

    @classmethod
    def of_contact(cls, kind: str, contact: str) -> "ModelSelect[Registration]":
        """Every sign-up with one address or number, in the order in which they are locked."""
        return cls.select().where(getattr(cls, kind) == contact).order_by(cls.id)

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
    user_id: str | None
    metadata = JsonField(default=dict)
    expires_at = TimestampField()
    consumed_at = TimestampField(null=True)

    class Meta:
        table_name = "verification_tokens"
