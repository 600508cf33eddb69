"""What users see of themselves."""

from dataclasses import dataclass
from typing import Any

from server.auth.events import RightsChanged, UserChanged
from server.auth.models import Role, Session, User
from server.core.errors import CredentialsInvalid
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class UserView:
    """A user with the names of their roles and what these permit, both sorted."""

    user: User
    roles: tuple[str, ...]
    permissions: tuple[str, ...]


def view_of(user: User) -> UserView:
    """The user with roles and permissions."""
    names, permissions = rights_of(user.id)
    return UserView(user, tuple(sorted(names)), tuple(sorted(permissions)))


def rights_of(user_id: str) -> tuple[set[str], set[str]]:
    """Names of the roles a user holds, and the permissions that they add up to."""
    names: set[str] = set()
    permissions: set[str] = set()
    rows: Any = Role.of_user(user_id).select(Role.name, Role.permissions)
    for role in rows:
        names.add(role.name)
        permissions.update(role.permissions)
    return names, permissions


def get_me(unit: Unit) -> UserView:
    """The calling user; ``CredentialsInvalid`` when the account was purged a moment ago."""
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    return view_of(user)


def tell_rights_changed(unit: Unit, user_id: str) -> None:
    """To be called by whatever changes the roles or the status of a user: from the commit on,
    nothing that was decided before counts any more."""
    open_sessions: Any = Session.open_for(user_id, unit.now).select(Session.id).tuples()
    unit.emit(RightsChanged(user_id, tuple(session_id for (session_id,) in open_sessions)))
    unit.emit(UserChanged(user_id))
