"""What users see of themselves, and staff of everybody; changes of what an account says."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import peewee

from server.auth import audit_actions as actions
from server.auth.errors import (
    PrimaryRoleNotHeld,
    StatusForbids,
    UsernameRequired,
    UsernameTaken,
    UserNotFound,
)
from server.auth.events import RightsChanged, UserChanged
from server.auth.models import ApiKey, MfaFactor, Role, Session, User, UserRole
from server.auth.rules import (
    NAMED_PERSONAS,
    SUPER_ADMIN,
    Actor,
    Side,
    UserStatus,
    check_fields,
    check_rank,
    fold_username,
    may_act,
    may_come_back,
    plain_text,
    search_text_of,
    shown_status,
)
from server.core.db import locked, locked_one, sql
from server.core.errors import CredentialsInvalid, PermissionDenied
from server.core.etags import check_same, etag_of
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit

_NOT_EDITED = frozenset({"update_time", "last_login_at", "last_online_at", "search_text"})
"""Columns of users that no etag depends on: they change while somebody uses the account."""

_OPTIONAL = frozenset({"first_name", "last_name", "username", "avatar_url", "cover_url"})
"""Texts that are NULL rather than empty."""

_RIGHTS = """
SELECT roles.name, roles.permissions FROM user_roles
JOIN roles ON roles.id = user_roles.role_id WHERE user_roles.user_id = ?
"""

ORDERS: Mapping[str, Any] = {
    "create_time": User.create_time,
    "update_time": User.update_time,
    "display_name": User.display_name,
}
"""What accounts can be listed by."""


@dataclass(frozen=True, slots=True)
class UserView:
    """A user with the names of their roles and what these permit, both sorted.

    ``status`` is the one that counts now, ``for_staff`` says that a member of staff looks.
    """

    user: User
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    etag: str
    status: str
    two_factors: bool = False
    for_staff: bool = False


@dataclass(frozen=True, slots=True)
class UserQuery:
    """Which accounts are listed; what is empty does not narrow the list down."""

    status: str
    role: str
    text: str
    order_by: str
    page_size: int
    page_token: str


def view_of(user: User, now: datetime | None = None, *, for_staff: bool = False) -> UserView:
    """The user with roles and permissions; ``now`` lets a suspension that has run out count as
    such."""
    names, permissions = rights_of(user.id)
    guarded = MfaFactor.guards(user.id)
    return _view(user, names, permissions, now, guarded=guarded, for_staff=for_staff)


def _views_of(users: Sequence[User], now: datetime | None, *, for_staff: bool) -> list[UserView]:
    ids = [user.id for user in users]
    names: dict[str, list[str]] = {user_id: [] for user_id in ids}
    permissions: dict[str, set[str]] = {user_id: set() for user_id in ids}
    links: Any = (
        UserRole.select(UserRole.user, Role.name, Role.permissions)
        .join(Role)
        .where(UserRole.user.in_(ids))
    )
    for link in links:
        names[link.user_id].append(link.role.name)
        permissions[link.user_id].update(link.role.permissions)
    factors: Any = MfaFactor.select(MfaFactor.user).where(
        MfaFactor.user.in_(ids) & (MfaFactor.status == "ACTIVE")
    )
    guarded = {factor.user_id for factor in factors}
    return [
        _view(
            user,
            names[user.id],
            permissions[user.id],
            now,
            guarded=user.id in guarded,
            for_staff=for_staff,
        )
        for user in users
    ]


def _view(
    user: User,
    names: Collection[str],
    permissions: Collection[str],
    now: datetime | None,
    *,
    guarded: bool,
    for_staff: bool,
) -> UserView:
    status = user.status if now is None else shown_status(user.status, user.suspended_until, now)
    return UserView(
        user=user,
        roles=tuple(sorted(names)),
        permissions=tuple(sorted(permissions)),
        etag=etag_of_user(user, names),
        status=status,
        two_factors=guarded,
        for_staff=for_staff,
    )


def etag_of_user(user: User, roles: Collection[str]) -> str:
    """Changes with every edit of the account and of its roles."""
    return etag_of(user, ignoring=_NOT_EDITED, also=sorted(roles))


def rights_of(user_id: str) -> tuple[set[str], set[str]]:
    """Names of the roles a user holds, and the permissions that they add up to."""
    names: set[str] = set()
    permissions: set[str] = set()
    for name, permitted in sql(_RIGHTS, user_id).fetchall():
        names.add(name)
        permissions.update(orjson.loads(permitted))
    return names, permissions


def may_sign_in(user: User, now: datetime) -> bool:
    """True when a proven factor opens a session: the account is in use, or its owner has deleted
    it and can still have it back, for which alone such a session is good."""
    return may_act(user.status, user.suspended_until, now) or may_come_back(
        user.status,
        user_id=user.id,
        deleted_by=user.deleted_by,
        purge_at=user.purge_at,
        now=now,
    )


def get_me(unit: Unit) -> UserView:
    """The calling user; ``CredentialsInvalid`` when the account was purged a moment ago."""
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    return view_of(user, unit.now)


def acting(unit: Unit) -> Actor:
    """The caller with the rights that the database has for them now: those that came with the
    call may be a moment old. Whoever has deleted their account has none."""
    user_id = unit.caller.user_id
    roles, permissions = (set(), set()) if unit.caller.deleted else rights_of(user_id)
    return Actor(user_id, frozenset(roles), frozenset(permissions))


@dataclass(frozen=True, slots=True)
class Reached:
    """An account that is about to be changed, locked, and who changes it."""

    actor: Actor
    user: User
    roles: frozenset[str]

    @property
    def side(self) -> Side:
        """As what the actor changes it; ``PermissionDenied`` for who may only look."""
        found = self.actor.side(self.user.id)
        if found is None:
            raise PermissionDenied
        return found


def reach(unit: Unit, user_id: str) -> Reached:
    """Locks an account for a change; ``UserNotFound`` for one that the caller does not see.

    Where a super_admin is concerned their role is locked too, and all rights are read anew behind
    that lock: of two who take it from each other at once, one succeeds.
    """
    actor = acting(unit)
    if not actor.sees(user_id):
        raise UserNotFound
    user = locked_one(User, User.id == user_id)
    if user is None:
        raise UserNotFound
    roles, _ = rights_of(user_id)
    if SUPER_ADMIN in roles:
        lock_super_admins()
        actor = acting(unit)
        roles, _ = rights_of(user_id)
    return Reached(actor, user, frozenset(roles))


def lock_super_admins() -> None:
    """Has everybody who gives or takes super_admin wait for each other. Locked after the account,
    everywhere."""
    locked(Role.select(Role.id).where(Role.name == SUPER_ADMIN)).get()


def get_user(unit: Unit, user_id: str) -> UserView:
    """One account; ``UserNotFound`` for one that the caller does not see."""
    actor = acting(unit)
    user = User.get_or_none(User.id == user_id) if actor.sees(user_id) else None
    if user is None:
        raise UserNotFound
    return view_of(user, unit.now, for_staff=actor.is_admin)


def list_users(unit: Unit, pages: Pages, query: UserQuery) -> tuple[list[UserView], str]:
    """Accounts for staff, and the token of the next page."""
    rows = _in_status(query.status, unit.now)
    if query.role:
        holders = UserRole.select(UserRole.user).join(Role).where(Role.name == query.role)
        rows = rows.where(User.id.in_(holders))
    if query.text:
        # ``contains`` escapes what would be a wildcard.
        rows = rows.where(User.search_text.contains(search_text_of(query.text)))
    column, _, direction = (query.order_by or "create_time desc").partition(" ")
    descending = direction == "desc"
    page: Page[User] = paginate(
        pages,
        rows,
        order=[Order(ORDERS[column], descending), Order(User.id, descending)],
        page_size=query.page_size,
        page_token=query.page_token,
        scope={
            "list": "users",
            "caller": unit.caller.user_id,
            "status": query.status,
            "role": query.role,
            "text": query.text,
        },
    )
    return _views_of(page.items, unit.now, for_staff=True), page.next_page_token


def _in_status(status: str, now: datetime) -> "peewee.ModelSelect[User]":
    over = (User.status == UserStatus.SUSPENDED) & (User.suspended_until <= now)
    if not status:
        return User.select().where(User.status != UserStatus.DELETED)
    if status == UserStatus.ACTIVE:
        return User.select().where((User.status == status) | over)
    if status == UserStatus.SUSPENDED:
        return User.select().where((User.status == status) & (User.suspended_until > now))
    return User.select().where(User.status == status)


def update_user(unit: Unit, user_id: str, changes: Mapping[str, Any], etag: str) -> UserView:
    """Changes fields of an account: a few by its owner, more by staff."""
    reached = reach(unit, user_id)
    user, side = reached.user, reached.side
    if side is Side.STAFF:
        check_rank(reached.actor, reached.roles)
    check_fields(changes, side)
    check_same(etag, etag_of_user(user, reached.roles))
    if user.status == UserStatus.DELETED:
        raise StatusForbids(status=user.status)
    for name, value in changes.items():
        setattr(user, name, _stored(name, value))
    if "username" in changes:
        check_username(user, reached.roles)
    if "primary_role" in changes:
        _check_primary_role(user, reached.roles)
    try:
        with unit.savepoint():
            user.save()
    except peewee.IntegrityError:
        raise UsernameTaken(field="user.username") from None
    unit.audit(actions.USER_UPDATE, resource=f"users/{user_id}", fields=sorted(changes))
    unit.emit(UserChanged(user_id))
    return view_of(user, unit.now, for_staff=reached.actor.is_admin)


def _stored(name: str, value: Any) -> Any:
    if name == "username":
        value = fold_username(value)
    elif name == "primary_role":
        value = value or None
    elif isinstance(value, str):
        value = plain_text(value)
    return None if name in _OPTIONAL and not value else value


def check_username(user: User, roles: Collection[str], field: str = "user.username") -> None:
    """Raises, for the ``field`` of the request, when the user name that ``user`` shall have is taken,
    or missing where there has to be one."""
    if user.username is None:
        check_named(user, roles, field)
        return
    taken = User.select().where((User.username == user.username) & (User.id != user.id))
    if taken.exists():
        raise UsernameTaken(field=field)


def check_named(user: User, roles: Collection[str], field: str) -> None:
    """Raises ``UsernameRequired`` when the roles go with a user name and ``user`` has none."""
    if user.username is None and NAMED_PERSONAS & set(roles):
        raise UsernameRequired(field=field)


def _check_primary_role(user: User, roles: Collection[str]) -> None:
    if user.primary_role is not None and user.primary_role not in roles:
        raise PrimaryRoleNotHeld(field="user.primary_role", name=user.primary_role)


def tell_rights_changed(unit: Unit, user_id: str) -> None:
    """To be called by whatever changes the roles or the status of a user: from the commit on,
    nothing that was decided before counts any more."""
    open_sessions: Any = Session.open_for(user_id, unit.now).select(Session.id).tuples()
    # What is open under a key of the user ends as well: to callers a key is a session.
    live_keys: Any = ApiKey.live_for(user_id, unit.now).select(ApiKey.id).tuples()
    ended = (*open_sessions, *live_keys)
    unit.emit(RightsChanged(user_id, tuple(session_id for (session_id,) in ended)))
    unit.emit(UserChanged(user_id))
