"""Roles: which there are, and who gets them."""

from collections.abc import Iterable
from typing import Any

from server.auth import audit_actions as actions
from server.auth.errors import StatusForbids
from server.auth.models import Role, User, UserRole
from server.auth.rules import (
    SUPER_ADMIN,
    Actor,
    KnownRole,
    UserStatus,
    check_roles,
    check_target,
    primary_role_after,
)
from server.auth.usecases.user_status import keep_a_super_admin
from server.auth.usecases.users import (
    UserView,
    acting,
    check_named,
    etag_of_user,
    lock_super_admins,
    reach,
    rights_of,
    tell_rights_changed,
    view_of,
)
from server.core.etags import check_same
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit


def list_roles(unit: Unit, pages: Pages, *, page_size: int, page_token: str) -> Page[Role]:
    """All roles, by name."""
    return paginate(
        pages,
        Role.select(),
        order=[Order(Role.name)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "roles", "caller": unit.caller.user_id},
    )


def set_user_roles(unit: Unit, user_id: str, names: frozenset[str], etag: str) -> UserView:
    """Has an account hold just these roles; what is decided for it from the commit on goes by
    them."""
    reached = reach(unit, user_id)
    actor, held = reached.actor, reached.roles
    if SUPER_ADMIN in names and SUPER_ADMIN not in held:
        # Two super_admins who act on each other wait here; the rights of the second may be gone.
        lock_super_admins()
        actor = acting(unit)
        held = frozenset(rights_of(user_id)[0])
    check_target(actor, user_id, held)
    check_same(etag, etag_of_user(reached.user, held))
    if reached.user.status == UserStatus.DELETED:
        raise StatusForbids(status=reached.user.status)
    catalogue = catalogue_of(names | held)
    given, taken = check_roles(actor, held=held, wanted=names, catalogue=catalogue)
    # What is held already may stay: an account of an older system may have no user name yet.
    check_named(reached.user, given, "roles")
    if SUPER_ADMIN in taken:
        keep_a_super_admin(unit, user_id)
    if given or taken:
        grant(unit, user_id, [catalogue[name] for name in given], actor)
        UserRole.delete().where(
            (UserRole.user == user_id) & UserRole.role.in_([catalogue[name].id for name in taken])
        ).execute()
        # Saved in any case: other processes find by its time that somebody changed.
        reached.user.primary_role = primary_role_after(reached.user.primary_role, names)
        reached.user.save()
        tell_rights_changed(unit, user_id)
        unit.audit(
            actions.USER_SET_ROLES,
            resource=f"users/{user_id}",
            given=sorted(given),
            taken=sorted(taken),
        )
    return view_of(User.get_by_id(user_id), unit.now, for_staff=True)


def catalogue_of(names: Iterable[str]) -> dict[str, KnownRole]:
    """Those of the named roles that there are."""
    rows: Any = Role.select().where(Role.name.in_(sorted(names)))
    return {
        row.name: KnownRole(row.id, row.name, row.kind, frozenset(row.permissions)) for row in rows
    }


def grant(unit: Unit, user_id: str, roles: Iterable[KnownRole], actor: Actor | None) -> None:
    """Gives roles, and records who gave them."""
    for role in sorted(roles, key=lambda role: role.id):
        UserRole.create(
            user=user_id,
            role=role.id,
            granted_by=None if actor is None else actor.user_id,
            create_time=unit.now,
        )
