"""Signed-in devices and their refresh tokens."""

from datetime import datetime

from peewee import (
    BooleanField,
    ForeignKeyField,
    IntegerField,
    ModelSelect,
    TextField,
)

from server.auth.models.accounts import User
from server.auth.rules import REVOKE_SESSIONS
from server.core.caller import Caller
from server.core.db import JsonField, Row, TimestampField, sql
from server.core.fields import microseconds

_OPEN = """
FROM sessions
WHERE user_id = ? AND is_revoked = ? AND expires_at > ? AND absolute_expires_at > ?
"""
_OPEN_ADDRESSES = f"SELECT DISTINCT ip {_OPEN}"
_OPEN_COUNT = f"SELECT count(*) {_OPEN}"
"""What :meth:`Session.open_for` says, for each sign-in."""


class Session(Row):
    """One signed-in device."""

    user = ForeignKeyField(User, backref="sessions")
    user_id: str
    device_info = TextField(default="")
    is_revoked = BooleanField(default=False)
    revoked_at = TimestampField(null=True)
    revoked_reason = TextField(null=True)
    expires_at = TimestampField()
    absolute_expires_at = TimestampField()
    token_id = TextField(null=True)
    token_version = IntegerField(default=1)
    last_active_at = TimestampField()
    metadata = JsonField(default=dict)
    refresh_token_family = TextField(null=True)
    last_refresh_at = TimestampField(null=True)
    refresh_count = IntegerField(default=0)
    session_token_hash = TextField(null=True)
    auth_methods = JsonField(default=list)
    assurance_level = IntegerField(default=1)
    privileged_until = TimestampField(null=True)
    privilege_changed_at = TimestampField(null=True)
    ip = TextField(default="")
    user_agent = TextField(default="")

    class Meta:
        table_name = "sessions"

    @classmethod
    def open_for(cls, user_id: str, now: datetime) -> "ModelSelect[Session]":
        """A user's sessions that may be used now."""
        return cls.select().where(
            (cls.user == user_id)
            & (cls.is_revoked == False)  # noqa: E712 - an SQL comparison
            & (cls.expires_at > now)
            & (cls.absolute_expires_at > now)
        )

    @classmethod
    def open_addresses(cls, user_id: str, now: datetime) -> list[str]:
        """Where a user's sessions that may be used now were last used from, each once."""
        moment = microseconds(now)
        return [ip for (ip,) in sql(_OPEN_ADDRESSES, user_id, False, moment, moment).fetchall()]

    @classmethod
    def open_count(cls, user_id: str, now: datetime) -> int:
        """How many sessions a user has that may be used now."""
        moment = microseconds(now)
        return int(sql(_OPEN_COUNT, user_id, False, moment, moment).fetchone()[0])

    @classmethod
    def within_reach_of(cls, caller: Caller) -> "ModelSelect[Session]":
        """The sessions that a caller may end: their own, and any for an administrator
        who is permitted to."""
        if caller.is_admin_and_may(REVOKE_SESSIONS):
            return cls.select()
        return cls.select().where(cls.user == caller.user_id)


class RefreshToken(Row):
    """A one-time token. Once used it carries its successor, sealed, for as long as the grace
    lasts."""

    session = ForeignKeyField(Session)
    session_id: str
    family = TextField()
    token_hash = TextField(unique=True)
    successor_id = TextField(null=True)
    successor_sealed = TextField(null=True)
    used_at = TimestampField(null=True)
    expires_at = TimestampField()

    class Meta:
        table_name = "refresh_tokens"
