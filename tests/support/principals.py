"""Everybody who might call, for tests of who may: of each kind one, with what they hold."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_service_pb2 as user_pb
from server.auth.models import Role, Session, User
from server.auth.usecases.privileges import change_privilege
from server.core.unit import Unit
from tests.rpc.auth.keys import create_key, revoke_key
from tests.rpc.auth.scenes import bearer, in_unit
from tests.rpc.auth.staff import later, member_of_staff
from tests.support.forged_tokens import HEADER, signed
from tests.support.serve import Greenroom, Person

ROLES = ("editor", "brand", "student", "teacher", "agent", "staff_editor", "viewer")
STAFF = ("admin", "super_admin")


@dataclass
class Principal:
    """Somebody who calls. ``kind`` is ``user``, ``service``, ``nobody`` or ``void`` for credentials
    that are none, or none any more."""

    name: str
    kind: str
    metadata: tuple[tuple[str, str], ...] = ()
    user_id: str = ""
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    fresh: bool = True
    deleted: bool = False
    person: Person | None = field(default=None, repr=False)


async def principals(server: Greenroom) -> list[Principal]:
    """One of each kind, made anew."""
    makers: list[Callable[[Greenroom], Awaitable[Principal]]] = [
        _nobody,
        _forged,
        _signed_out,
        _suspended,
        _creator,
        _unraised,
        *(_with_role(role) for role in (*ROLES, *STAFF)),
        _unraised_admin,
        _deleted,
        _service("full", "auth.web_storage", "auth.tokens.introspect"),
        _service("narrow", "auth.tokens.introspect"),
        _mighty_service,
        _revoked_service,
    ]
    return [await make(server) for make in makers]


async def held_by(server: Greenroom, user_id: str) -> tuple[frozenset[str], frozenset[str]]:
    """Roles and permissions of a user, as the database has them."""

    def read(_unit: Unit) -> tuple[frozenset[str], frozenset[str]]:
        roles = list(Role.of_user(user_id))
        permitted = {name for role in roles for name in role.permissions}
        return frozenset(role.name for role in roles), frozenset(permitted)

    return await in_unit(server, read)


async def as_user(server: Greenroom, name: str, person: Person, **more: Any) -> Principal:
    """A signed-in person as a principal."""
    roles, permissions = await held_by(server, person.id)
    values = {"user_id": person.id, "roles": roles, "permissions": permissions, "person": person}
    return Principal(name, "user", person.metadata, **{**values, **more})


async def _nobody(_server: Greenroom) -> Principal:
    return Principal("nobody", "nobody")


async def _forged(_server: Greenroom) -> Principal:
    return Principal("forged", "void", bearer(signed(HEADER, {"iss": "greenroom"})))


async def _signed_out(server: Greenroom) -> Principal:
    person = await server.person("Gone")
    await server.auth.LogOut(auth_pb.LogOutRequest(), metadata=person.metadata)
    return Principal("signed out", "void", person.metadata)


async def _suspended(server: Greenroom) -> Principal:
    person = await server.person("Locked")

    def lock(unit: Unit) -> None:
        until = unit.now.replace(year=unit.now.year + 1)
        User.update(status="SUSPENDED", suspended_until=until, update_time=unit.now).where(
            User.id == person.id
        ).execute()

    await in_unit(server, lock, write=True)
    return Principal("suspended", "void", person.metadata)


async def _creator(server: Greenroom) -> Principal:
    return await as_user(server, "creator", await server.person("Creator"))


def _with_role(role: str) -> Callable[[Greenroom], Awaitable[Principal]]:
    async def make(server: Greenroom) -> Principal:
        return await as_user(server, role, await member_of_staff(server, role, role))

    return make


async def _lower(server: Greenroom, person: Person) -> None:
    def lower(unit: Unit) -> None:
        change_privilege(unit, Session.get_by_id(person.session_id), None)

    await server.running.parts.database.run(lower, write=True)


async def _unraised(server: Greenroom) -> Principal:
    person = await server.person("Unraised")
    await _lower(server, person)
    return await as_user(server, "unraised", person, fresh=False)


async def _unraised_admin(server: Greenroom) -> Principal:
    person = await member_of_staff(server, "admin", "Unraised")
    await _lower(server, person)
    return await as_user(server, "unraised admin", person, fresh=False)


async def _deleted(server: Greenroom) -> Principal:
    person = await server.person("Deleted")
    request = user_pb.DeleteUserRequest(user_id=person.id)
    await server.users.DeleteUser(request, metadata=person.metadata)
    back = await server.log_in(person.email)
    return await as_user(server, "deleted", back, deleted=True, permissions=frozenset())


def _service(name: str, *scopes: str) -> Callable[[Greenroom], Awaitable[Principal]]:
    async def make(server: Greenroom) -> Principal:
        owner = await member_of_staff(server, "super_admin", "Owner")
        made = await create_key(server, owner, *scopes, expire_time=later(server))
        return Principal(
            f"{name} service",
            "service",
            bearer(made.key),
            user_id=owner.id,
            permissions=frozenset(scopes),
        )

    return make


async def _mighty_service(server: Greenroom) -> Principal:
    """A key that may do all that its maker may: still no member of staff."""
    owner = await member_of_staff(server, "super_admin", "Owner")
    _roles, permissions = await held_by(server, owner.id)
    made = await create_key(server, owner, *sorted(permissions), expire_time=later(server))
    return Principal(
        "mighty service", "service", bearer(made.key), user_id=owner.id, permissions=permissions
    )


async def _revoked_service(server: Greenroom) -> Principal:
    owner = await member_of_staff(server, "super_admin", "Owner")
    made = await create_key(server, owner, "auth.web_storage", expire_time=later(server))
    await revoke_key(server, owner, made.api_key.id)
    return Principal("revoked service", "void", bearer(made.key))
