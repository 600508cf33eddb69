"""The rows of auth. Columns are told of in migrations/0101 to 0103."""

from datetime import datetime

from peewee import (
    BigIntegerField,
    BooleanField,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    ModelSelect,
    TextField,
)

from server.auth.rules import ADMIN_ROLES, RegistrationStatus, UserStatus
from server.core.caller import Caller
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
    def within_reach_of(cls, caller: Caller) -> "ModelSelect[Session]":
        """The sessions that a caller may end: their own, and any for an administrator."""
        if caller.roles & ADMIN_ROLES:
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


class LoginAttempt(Model):
    """Failures of one subject: the HMAC of an identifier or of a network address."""

    subject = TextField(primary_key=True)
    kind = TextField()
    failures = IntegerField(default=0)
    last_at = TimestampField(null=True)
    blocked_until = TimestampField(null=True)
    update_time = TimestampField()

    class Meta:
        table_name = "login_attempts"


class ContactSend(Model):
    """When mails lately left for one contact, known by its HMAC only."""

    contact = TextField(primary_key=True)
    recent = JsonField(default=list)
    update_time = TimestampField()

    class Meta:
        table_name = "contact_sends"


class AuditEvent(Model):
    """What happened. ``seq``, ``prev_hash`` and ``hash`` come when the row is sealed.

    ``metadata`` is JSON, kept as the very text that is hashed.
    """

    id = TextField(primary_key=True)
    create_time = TimestampField()
    actor_kind = TextField()
    actor_id = TextField(null=True)
    session_id = TextField(null=True)
    action = TextField()
    resource = TextField(default="")
    result = TextField()
    ip = TextField(default="")
    user_agent = TextField(default="")
    request_id = TextField(default="")
    method = TextField(default="")
    metadata = TextField(default="{}")
    seq = BigIntegerField(null=True)
    prev_hash = TextField(null=True)
    hash = TextField(null=True)

    class Meta:
        table_name = "audit_events"


class AuditChain(Model):
    """The last link of the chain: one row."""

    id = IntegerField(primary_key=True)
    seq = BigIntegerField()
    hash = TextField()

    class Meta:
        table_name = "audit_chain"
