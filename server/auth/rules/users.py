"""What may be done to an account, by whom, and what becomes of it."""

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from server.auth.errors import (
    FieldForbidden,
    OwnAccount,
    RoleBeyondCaller,
    RoleNotAssignable,
    RoleUnknown,
    SuperAdminOnly,
)
from server.auth.rules.accounts import UserStatus
from server.core.caller import Rights

SUPER_ADMIN = "super_admin"

READ_USERS = "auth.users.read"
WRITE_USERS = "auth.users.write"
WRITE_ROLES = "auth.roles.write"

INVITE_LIFE = timedelta(days=7)
"""How long a mailed invitation can be accepted."""

LONGEST_SUSPENSION = timedelta(days=3653)
"""How far ahead the end of a suspension may lie: ten years. What is for longer is a ban."""

NAMED_PERSONAS = frozenset({"student", "teacher"})
"""Whoever holds one of these roles has a user name (the lessons go by it)."""

OWN_FIELDS = frozenset(
    {
        "display_name",
        "first_name",
        "last_name",
        "username",
        "avatar_url",
        "cover_url",
        "language",
        "onboarding_step",
        "onboarding_completed",
    }
)
"""What the owner of an account changes in it."""

STAFF_FIELDS = OWN_FIELDS | {"access_level", "primary_role"}
"""What staff change in the accounts of others."""


class Verb(StrEnum):
    """What is done to the status of an account."""

    SUSPEND = "SUSPEND"
    REINSTATE = "REINSTATE"
    BAN = "BAN"
    DELETE = "DELETE"
    UNDELETE = "UNDELETE"


class Side(StrEnum):
    """On which side of an account somebody stands."""

    OWNER = "OWNER"
    STAFF = "STAFF"


@dataclass(frozen=True, slots=True)
class Actor(Rights):
    """Who acts, with the rights that they have at this moment."""

    user_id: str
    roles: frozenset[str]
    permissions: frozenset[str]

    @property
    def is_super_admin(self) -> bool:
        """True for super_admins."""
        return SUPER_ADMIN in self.roles

    def sees(self, user_id: str) -> bool:
        """True when the account is visible to them: their own, and any to administrators."""
        return self.user_id == user_id or self.is_admin_and_may(READ_USERS)

    def side(self, user_id: str) -> Side | None:
        """As what they may change the account; ``None`` when they may not."""
        if self.user_id == user_id:
            return Side.OWNER
        return Side.STAFF if self.is_admin_and_may(WRITE_USERS) else None


_P, _A, _S, _B, _D = (
    UserStatus.PENDING,
    UserStatus.ACTIVE,
    UserStatus.SUSPENDED,
    UserStatus.BANNED,
    UserStatus.DELETED,
)

RESTORED = "RESTORED"
"""In :data:`TRANSITIONS`: the status that the account had before."""

TRANSITIONS: Mapping[tuple[UserStatus, Verb, Side], str] = {
    (_A, Verb.SUSPEND, Side.STAFF): _S,
    (_S, Verb.SUSPEND, Side.STAFF): _S,
    (_P, Verb.BAN, Side.STAFF): _B,
    (_A, Verb.BAN, Side.STAFF): _B,
    (_S, Verb.BAN, Side.STAFF): _B,
    (_B, Verb.BAN, Side.STAFF): _B,
    (_D, Verb.BAN, Side.STAFF): _B,
    (_A, Verb.REINSTATE, Side.STAFF): _A,
    (_S, Verb.REINSTATE, Side.STAFF): _A,
    (_B, Verb.REINSTATE, Side.STAFF): RESTORED,
    (_P, Verb.DELETE, Side.STAFF): _D,
    (_A, Verb.DELETE, Side.STAFF): _D,
    (_S, Verb.DELETE, Side.STAFF): _D,
    (_B, Verb.DELETE, Side.STAFF): _D,
    (_D, Verb.DELETE, Side.STAFF): _D,
    (_A, Verb.DELETE, Side.OWNER): _D,
    (_D, Verb.DELETE, Side.OWNER): _D,
    (_D, Verb.UNDELETE, Side.STAFF): RESTORED,
    (_P, Verb.UNDELETE, Side.STAFF): _P,
    (_A, Verb.UNDELETE, Side.STAFF): _A,
    (_S, Verb.UNDELETE, Side.STAFF): _S,
    (_B, Verb.UNDELETE, Side.STAFF): _B,
    (_D, Verb.UNDELETE, Side.OWNER): RESTORED,
    (_A, Verb.UNDELETE, Side.OWNER): _A,
}
"""What becomes of an account. What is not here is refused; where both are the same, nothing
changes (but the end and the reason of a suspension)."""


def status_after(status: str, verb: Verb, side: Side, before: str | None) -> UserStatus | None:
    """The status that follows; ``None`` when the verb does not go with the present one.

    ``before`` is the status before the account was banned or deleted. A ban is not outlived by a
    deletion, and no other lock than a suspension comes back with :data:`Verb.REINSTATE`.
    """
    found = TRANSITIONS.get((UserStatus(status), verb, side))
    if found is None or found != RESTORED:
        return None if found is None else UserStatus(found)
    restored = UserStatus(before or UserStatus.ACTIVE)
    if verb is Verb.REINSTATE:
        return UserStatus.PENDING if restored is UserStatus.PENDING else UserStatus.ACTIVE
    return restored


def status_kept(status: str, before: str | None) -> str:
    """What is remembered as the status before, when an account is banned or deleted: of two steps
    in a row the first one's, unless it was a ban."""
    if status == UserStatus.DELETED and before is not None:
        return UserStatus.ACTIVE if before == UserStatus.BANNED else before
    return status


def shown_status(status: str, suspended_until: datetime | None, now: datetime) -> UserStatus:
    """The status as it counts now: a suspension ends by itself."""
    if status == UserStatus.SUSPENDED and suspended_until is not None and suspended_until <= now:
        return UserStatus.ACTIVE
    return UserStatus(status)


def may_come_back(
    status: str, *, user_id: str, deleted_by: str | None, purge_at: datetime | None, now: datetime
) -> bool:
    """True for an account that its owner deleted and can still have back."""
    return (
        status == UserStatus.DELETED
        and deleted_by == user_id
        and purge_at is not None
        and now < purge_at
    )


def check_target(actor: Actor, user_id: str, roles: Collection[str]) -> None:
    """Raises unless the actor may act as staff on somebody with these roles: nobody does on
    themselves, and on a super_admin only another one."""
    if actor.user_id == user_id:
        raise OwnAccount
    check_rank(actor, roles)


def check_rank(actor: Actor, roles: Collection[str]) -> None:
    """Raises ``SuperAdminOnly`` when the roles hold super_admin and the actor is none."""
    if SUPER_ADMIN in roles and not actor.is_super_admin:
        raise SuperAdminOnly


def check_fields(fields: Collection[str], side: Side) -> None:
    """Raises ``FieldForbidden`` for a field that this side does not change."""
    allowed = STAFF_FIELDS if side is Side.STAFF else OWN_FIELDS
    for field in sorted(fields):
        if field not in allowed:
            raise FieldForbidden(field=f"user.{field}", name=field)


@dataclass(frozen=True, slots=True)
class KnownRole:
    """A role of the catalogue."""

    id: str
    name: str
    kind: str
    permissions: frozenset[str]


def check_roles(
    actor: Actor,
    *,
    held: Collection[str],
    wanted: Collection[str],
    catalogue: Mapping[str, KnownRole],
) -> tuple[frozenset[str], frozenset[str]]:
    """The roles to give and to take, when ``held`` shall become ``wanted``; raises when the actor
    may not. ``catalogue`` has every role of both.

    Only what changes is looked at: who may not give a role may still leave it where it is.
    """
    for name in wanted:
        if name not in catalogue:
            raise RoleUnknown(field="roles", name=name)
    given = frozenset(wanted) - frozenset(held)
    taken = frozenset(held) - frozenset(wanted)
    for name in sorted(given):
        if catalogue[name].kind == "SYSTEM":
            raise RoleNotAssignable(field="roles", name=name)
    check_rank(actor, given | taken)
    for name in sorted(given | taken):
        role = catalogue[name]
        if role.kind != "PERSONA" and not actor.may(WRITE_ROLES):
            raise RoleBeyondCaller(field="roles", name=name)
        if not all(actor.may(permission) for permission in role.permissions):
            raise RoleBeyondCaller(field="roles", name=name)
    return given, taken


def primary_role_after(primary: str | None, roles: Collection[str]) -> str | None:
    """The primary role once somebody holds just these roles."""
    return primary if primary in roles else None


def search_text_of(*parts: str | None) -> str:
    """The text that a search looks at, and what is searched for, in the form in which they are
    compared: without case and without variants of width."""
    text = unicodedata.normalize("NFKC", "\n".join(part for part in parts if part))
    return unicodedata.normalize("NFKC", text.casefold())
