"""One-time codes, and the counts of wrong ones."""

from datetime import datetime
from typing import Any

from peewee import BooleanField, ForeignKeyField, IntegerField, ModelSelect, TextField

from server.auth.models.accounts import User
from server.auth.models.attempts import Tries
from server.auth.models.registrations import Registration
from server.auth.rules import otp_open
from server.core.db import JsonField, Row, TimestampField


class Otp(Row):
    """A code that was asked for. ``code_hash`` is the HMAC of a code and the SHA-256 of a link's
    token, and NULL when the provider holds the code: then it is known by ``verification_sid``.

    Without a user and a sign-up the row stands for a destination that nothing was sent to.
    ``consumed_at`` is when it was used, or when a newer code took its place; only a used one is
    ``verified``. ``reference`` is the id of the request that asked for it.
    """

    destination = TextField()
    channel = TextField()
    purpose = TextField()
    code_hash = TextField(null=True)
    verification_sid = TextField(null=True)
    user = ForeignKeyField(User, null=True)
    user_id: str | None
    registration = ForeignKeyField(Registration, null=True)
    registration_id: str | None
    reference = TextField(null=True)
    metadata = JsonField(default=dict, null=True)
    attempts = IntegerField(default=0)
    verified = BooleanField(default=False)
    expires_at = TimestampField()
    consumed_at = TimestampField(null=True)

    class Meta:
        table_name = "otps"

    @property
    def has_target(self) -> bool:
        """Whether there is somebody whom the code is for."""
        return self.user_id is not None or self.registration_id is not None

    def is_open(self, now: datetime) -> bool:
        """Whether it can still be used."""
        return otp_open(consumed_at=self.consumed_at, expires_at=self.expires_at, now=now)

    @classmethod
    def open_for(cls, destination: str, now: datetime) -> "ModelSelect[Otp]":
        """What was sent to a destination and can still be used."""
        return cls.select().where(cls.is_open_for(destination, now))

    @classmethod
    def is_open_for(cls, destination: str, now: datetime) -> Any:
        """The condition of :meth:`open_for`."""
        return (
            (cls.destination == destination)
            & cls.consumed_at.is_null()
            & (cls.expires_at > now)
            & (cls.user.is_null(False) | cls.registration.is_null(False))
        )


class OtpTries(Tries):
    """Wrong codes in a row of one subject: the HMAC of an account or of a destination."""

    subject = TextField(primary_key=True)

    class Meta:
        table_name = "otp_tries"
