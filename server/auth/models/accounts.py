"""Accounts, their roles and passwords."""

from typing import Any

from peewee import (
    BooleanField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    ModelSelect,
    TextField,
)

from server.auth.rules import UserStatus, search_text_of
from server.core.db import JsonField, Model, Row, TimestampField

SEARCHED = frozenset({"display_name", "email", "username", "phone"})
"""Columns of users whose text is found by a search."""


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
    language = TextField(default="")
    search_text = TextField(default="")
    deleted_by = TextField(null=True)
    status_before = TextField(null=True)

    class Meta:
        table_name = "users"

    def save(self, force_insert: bool = False, only: Any = None) -> int | bool:
        """As any row; what a search looks at follows what it is made of. Whoever changes one of
        ``SEARCHED`` by a bulk update has to see to it themselves."""
        if force_insert or self._dirty & SEARCHED:  # type: ignore[attr-defined]
            self.search_text = search_text_of(
                self.display_name, self.email, self.username, self.phone
            )
            only = only and [*only, type(self).search_text]
        return super().save(force_insert=force_insert, only=only)

    @classmethod
    def holding(cls, role: str) -> "ModelSelect[User]":
        """The users who hold the role of this name."""
        return (
            cls.select()
            .join(UserRole, on=(UserRole.user == cls.id))
            .join(Role)
            .where(Role.name == role)
        )

    @classmethod
    def by_identifier(cls, kind: str, value: str) -> "User | None":
        """The user whose ``email``, ``phone`` or ``username`` (``kind``) is the folded
        ``value``."""
        return cls.get_or_none(getattr(cls, kind) == value)


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
