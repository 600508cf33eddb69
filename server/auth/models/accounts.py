"""Accounts, their roles and passwords."""

from peewee import (
    BooleanField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    ModelSelect,
    TextField,
)

from server.auth.rules import UserStatus
from server.core.db import JsonField, Model, Row, TimestampField


class User(Row):
    """A person with an account."""

    email = TextField(null=True)
    email_verified_at = TimestampField(null=True)
    phone = TextField(null=True)
    phone_verified_at = TimestampField(null=True)
    username = TextField(null=True)
    display_name = TextField(default="")
    first_name = TextField(null=True)
    last_name = TextField(null=True)
    avatar_url = TextField(null=True)
    avatar_media_id = TextField(null=True)
    cover_url = TextField(null=True)
    status = TextField(default=UserStatus.PENDING)
    status_reason = TextField(null=True)
    suspended_until = TimestampField(null=True)
    primary_role = TextField(null=True)
    signup_provider = TextField(default="email")
    access_level = TextField(default="NONE")
    allowed_channels = JsonField(default=list)
    onboarding_completed = BooleanField(default=False)
    onboarding_step = IntegerField(default=0)
    last_login_at = TimestampField(null=True)
    last_online_at = TimestampField(null=True)
    deleted_at = TimestampField(null=True)
    purge_at = TimestampField(null=True)
    legacy_source = TextField(null=True)
    legacy_id = TextField(null=True)

    class Meta:
        table_name = "users"

    @classmethod
    def by_identifier(cls, kind: str, value: str) -> "ModelSelect[User]":
        """The user whose ``email``, ``phone`` or ``username`` (``kind``) is the folded
        ``value``."""
        return cls.select().where(getattr(cls, kind) == value)


class Role(Row):
    """A set of permissions under a name."""

    name = TextField(unique=True)
    kind = TextField()
    permissions = JsonField(default=list)
    legacy_source = TextField(null=True)
    legacy_id = TextField(null=True)

    class Meta:
        table_name = "roles"

    @classmethod
    def of_user(cls, user_id: str) -> "ModelSelect[Role]":
        """The roles a user holds."""
        return cls.select().join(UserRole).where(UserRole.user == user_id)


class UserRole(Model):
    """That a user holds a role."""

    user = ForeignKeyField(User, backref="role_links")
    role = ForeignKeyField(Role, backref="user_links")
    granted_by = ForeignKeyField(User, null=True, backref="granted", column_name="granted_by")
    create_time = TimestampField()

    class Meta:
        table_name = "user_roles"
        primary_key = CompositeKey("user", "role")


class Credential(Model):
    """The password of a user; ``algorithm`` says how ``password_hash`` came about."""

    user = ForeignKeyField(User, primary_key=True)
    password_hash = TextField()
    algorithm = TextField()
    password_changed_at = TimestampField()
    must_change = BooleanField(default=False)
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "credentials"
