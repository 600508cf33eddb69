"""Passkeys, and the challenges that are to be signed with them."""

from peewee import BooleanField, ForeignKeyField, IntegerField, ModelSelect, TextField

from server.auth.models.accounts import User
from server.auth.models.sessions import Session
from server.core.caller import Caller
from server.core.db import JsonField, Row, TimestampField


class Passkey(Row):
    """A credential of an authenticator (WebAuthn level 3). Ids, keys and handles are base64url
    without padding; ``public_key`` is a COSE key."""

    user = ForeignKeyField(User)
    user_id: str
    user_handle = TextField()
    credential_id = TextField(unique=True)
    public_key = TextField()
    sign_count = IntegerField(default=0)
    transports = JsonField(default=list)
    aaguid = TextField(default="")
    label = TextField(default="")
    backup_eligible = BooleanField(default=False)
    backed_up = BooleanField(default=False)
    user_verified = BooleanField(default=False)
    last_used_at = TimestampField(null=True)

    class Meta:
        table_name = "passkeys"

    @classmethod
    def for_user(cls, user_id: str) -> "ModelSelect[Passkey]":
        """The passkeys of a user."""
        return cls.select().where(cls.user == user_id)

    @classmethod
    def for_owner(cls, caller: Caller) -> "ModelSelect[Passkey]":
        """The caller's own passkeys."""
        return cls.for_user(caller.user_id)


class PasskeyChallenge(Row):
    """A challenge, known by its SHA-256, that is good for one answer.

    One for a registration belongs to a user and to the session that asked for it. One for a log-in
    belongs to nobody when it is ``discoverable``; otherwise to the user that was named, or, where
    there is no such user, to nobody who could answer it.
    """

    challenge_hash = TextField(unique=True)
    kind = TextField()
    discoverable = BooleanField(default=False)
    user = ForeignKeyField(User, null=True)
    user_id: str | None
    session = ForeignKeyField(Session, null=True)
    session_id: str | None
    user_handle = TextField(null=True)
    expires_at = TimestampField()
    consumed_at = TimestampField(null=True)

    class Meta:
        table_name = "passkey_challenges"
