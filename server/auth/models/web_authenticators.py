"""Authenticators of the users of web frameworks."""

from peewee import BigIntegerField, BooleanField, ForeignKeyField, ModelSelect, TextField

from server.auth.models.accounts import User
from server.core.db import Row


class WebAuthenticator(Row):
    """A credential of a web framework's own relying party, in the words of Auth.js; nothing of it is
    looked into here."""

    user = ForeignKeyField(User)
    user_id: str
    credential_id = TextField(unique=True)
    provider_account_id = TextField()
    credential_public_key = TextField()
    counter = BigIntegerField(default=0)
    credential_device_type = TextField(default="")
    credential_backed_up = BooleanField(default=False)
    transports = TextField(default="")

    class Meta:
        table_name = "web_authenticators"

    @classmethod
    def for_user(cls, user_id: str) -> "ModelSelect[WebAuthenticator]":
        """A user's authenticators."""
        return cls.select().where(cls.user == user_id)
