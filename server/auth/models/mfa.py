"""Second factors: authenticator apps, backup codes, challenges, and the counts of their tries."""

from datetime import datetime

from peewee import CompositeKey, ForeignKeyField, IntegerField, ModelSelect, TextField

from server.auth.models.accounts import User
from server.auth.models.attempts import Tries
from server.core.caller import Caller
from server.core.db import Row, TimestampField


class MfaFactor(Row):
    """An authenticator app; ``secret_enc`` is sealed for this row and opens nowhere else."""

    user = ForeignKeyField(User)
    user_id: str
    kind = TextField(default="TOTP")
    label = TextField(default="")
    status = TextField(default="PENDING")
    secret_enc = TextField()
    last_used_step = IntegerField(null=True)
    last_used_at = TimestampField(null=True)
    activated_at = TimestampField(null=True)
    expires_at = TimestampField(null=True)

    class Meta:
        table_name = "mfa_factors"

    @classmethod
    def active_for(cls, user_id: str) -> "ModelSelect[MfaFactor]":
        """The factors that sign-ins of a user ask for."""
        return cls.select().where((cls.user == user_id) & (cls.status == "ACTIVE"))

    @classmethod
    def guards(cls, user_id: str) -> bool:
        """Whether sign-ins of a user ask for a second factor."""
        return cls.get_or_none(cls.user == user_id, cls.status == "ACTIVE") is not None

    @classmethod
    def for_owner(cls, caller: Caller, now: datetime) -> "ModelSelect[MfaFactor]":
        """The caller's own factors, without enrolments that have ended."""
        return cls.select().where(
            (cls.user == caller.user_id) & (cls.expires_at.is_null() | (cls.expires_at > now))
        )


class RecoveryCode(Row):
    """A backup code, known by its HMAC."""

    user = ForeignKeyField(User)
    user_id: str
    code_hash = TextField(unique=True)
    used_at = TimestampField(null=True)

    class Meta:
        table_name = "recovery_codes"

    @classmethod
    def left_for(cls, user_id: str) -> "ModelSelect[RecoveryCode]":
        """The codes of a user that were not used yet."""
        return cls.select().where((cls.user == user_id) & cls.used_at.is_null())


class MfaChallenge(Row):
    """A sign-in whose first factor was proven and whose second one is awaited."""

    user = ForeignKeyField(User)
    user_id: str
    token_hash = TextField(unique=True)
    method = TextField()
    device_info = TextField(default="")
    ip = TextField(default="")
    user_agent = TextField(default="")
    attempts = IntegerField(default=0)
    expires_at = TimestampField()
    consumed_at = TimestampField(null=True)

    class Meta:
        table_name = "mfa_challenges"


class MfaTries(Tries):
    """Failures in a row of one account with one kind of code."""

    user = ForeignKeyField(User)
    user_id: str
    kind = TextField()

    class Meta:
        table_name = "mfa_tries"
        primary_key = CompositeKey("user", "kind")
