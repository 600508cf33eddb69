"""Keys that services call with."""

from datetime import datetime
from typing import Any

from peewee import ForeignKeyField, ModelSelect, TextField

from server.auth.models.accounts import User
from server.auth.rules import WRITE_USERS
from server.core.caller import Caller
from server.core.db import JsonField, Row, TimestampField


class ApiKey(Row):
    """A key, known by its SHA-256. ``prefix`` is its public part and finds it."""

    user = ForeignKeyField(User, backref="api_keys")
    user_id: str
    name = TextField()
    prefix = TextField(unique=True)
    key_hash = TextField(unique=True)
    scopes = JsonField(default=list)
    expires_at = TimestampField()
    last_used_at = TimestampField(null=True)
    revoked_at = TimestampField(null=True)
    revoked_by = TextField(null=True)

    class Meta:
        table_name = "api_keys"

    @classmethod
    def usable(cls, now: datetime) -> Any:
        """The condition of keys that can be used now, as far as they alone say."""
        return cls.revoked_at.is_null() & (cls.expires_at > now)

    @classmethod
    def live_for(cls, user_id: str, now: datetime) -> "ModelSelect[ApiKey]":
        """A user's keys that can be used now."""
        return cls.select().where((cls.user == user_id) & cls.usable(now))

    @classmethod
    def within_reach_of(cls, caller: Caller) -> "ModelSelect[ApiKey]":
        """The keys that a caller may end: their own, and any for an administrator
        who is permitted to change accounts."""
        if caller.is_admin_and_may(WRITE_USERS):
            return cls.select()
        return cls.select().where(cls.user == caller.user_id)
