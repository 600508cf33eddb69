"""Everybody who might call, for tests of who may: of each kind one, with what they hold."""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_service_pb2 as user_pb
from server.auth.models import Role, Session, User, UserRole
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
        _garbage,
        _forged,
        _expired,
        _for_others,
        _refresh_token,
        _signed_out,
        *(_locked(status) for status in ("SUSPENDED", "BANNED", "PENDING")),
        _creator,
        _unproven,
        _unraised,
        *(_with_role(role) for role in (*ROLES, *STAFF)),
        clerk,
        _unraised_admin,
        deleted,
        service("full", "auth.web_storage", "auth.tokens.introspect"),
        service("narrow", "auth.tokens.introspect"),
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


async def _garbage(_server: Greenroom) -> Principal:
    return Principal("garbage", "void", bearer("x" * 200))


def resigned(server: Greenroom, token: str, **changed: Any) -> str:
    """An access token of the server's with other claims and a good signature: what it would be if
    only these claims were at fault."""
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    (key,) = (
        json.loads(path.read_text())
        for path in server.settings.keys_dir.glob("signing-*.json")
        if json.loads(path.read_text())["kid"] == header["kid"]
    )
    private = base64.urlsafe_b64decode(key["d"] + "=")
    return signed(header, {**claims, **changed}, Ed25519PrivateKey.from_private_bytes(private))


async def _expired(server: Greenroom) -> Principal:
    person = await server.person("Late")
    past = int(server.clock.now().timestamp()) - 3600
    token = person.tokens.tokens.access_token
    return Principal(
        "expired", "void", bearer(resigned(server, token, iat=past - 60, nbf=past - 60, exp=past))
    )


async def _for_others(server: Greenroom) -> Principal:
    person = await server.person("Abroad")
    token = person.tokens.tokens.access_token
    return Principal("for others", "void", bearer(resigned(server, token, aud="another")))


async def _refresh_token(server: Greenroom) -> Principal:
    person = await server.person("Mistaken")
    return Principal("refresh token", "void", bearer(person.tokens.tokens.refresh_token))


async def _signed_out(server: Greenroom) -> Principal:
    person = await server.person("Gone")
    await server.auth.LogOut(auth_pb.LogOutRequest(), metadata=person.metadata)
    return Principal("signed out", "void", person.metadata)


def _locked(status: str) -> Callable[[Greenroom], Awaitable[Principal]]:
    """Somebody whose session is left from before their account got this status."""

    async def make(server: Greenroom) -> Principal:
        person = await server.person("Locked")

        def lock(unit: Unit) -> None:
            until = unit.now.replace(year=unit.now.year + 1) if status == "SUSPENDED" else None
            User.update(status=status, suspended_until=until, update_time=unit.now).where(
                User.id == person.id
            ).execute()

        await in_unit(server, lock, write=True)
        return Principal(status.lower(), "void", person.metadata)

    return make


async def _unproven(server: Greenroom) -> Principal:
    """Somebody whose address nobody has proven, as with AUTO_ACTIVATE."""
    person = await server.person("Unproven")

    def unprove(unit: Unit) -> None:
        User.update(email_verified_at=None, update_time=unit.now).where(
            User.id == person.id
        ).execute()

    await in_unit(server, unprove, write=True)
    return await as_user(server, "unproven", person)


async def clerk(server: Greenroom) -> Principal:
    """Somebody with a role of its own that permits all that a super_admin may: still none."""
    person = await server.person("Clerk")

    def appoint(unit: Unit) -> None:
        roles: Any = Role
        role, _ = roles.get_or_create(
            name="clerk",
            defaults={
                "kind": "STAFF",
                "permissions": Role.get(Role.name == "super_admin").permissions,
                "create_time": unit.now,
                "update_time": unit.now,
            },
        )
        UserRole.create(user=person.id, role=role.id, create_time=unit.now)

    await in_unit(server, appoint, write=True)
    return await as_user(server, "clerk", person)


async def powerful_admin(server: Greenroom) -> Principal:
    """An admin whose role permits all that a super_admin may: still none."""

    def everything(_unit: Unit) -> list[str]:
        return list(Role.get(Role.name == "super_admin").permissions)

    return await admin_permitted(server, *await in_unit(server, everything))


async def admin_permitted(server: Greenroom, *permissions: str) -> Principal:
    """An admin whose role permits just this, like everybody's of that role."""

    def give(_unit: Unit) -> None:
        Role.update(permissions=list(permissions)).where(Role.name == "admin").execute()

    await in_unit(server, give, write=True)
    person = await member_of_staff(server, "admin", "Admin")
    return await as_user(server, "admin", person)


async def powerless(server: Greenroom, role: str) -> Principal:
    """A member of staff whose role permits nothing any more; so does nobody else's of that role."""

    def empty(_unit: Unit) -> None:
        Role.update(permissions=[]).where(Role.name == role).execute()

    await in_unit(server, empty, write=True)
    person = await member_of_staff(server, role, role)
    return await as_user(server, f"powerless {role}", person)


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


async def deleted(server: Greenroom) -> Principal:
    person = await server.person("Deleted")
    request = user_pb.DeleteUserRequest(user_id=person.id)
    await server.users.DeleteUser(request, metadata=person.metadata)
    back = await server.log_in(person.email)
    return await as_user(server, "deleted", back, deleted=True, permissions=frozenset())


def service(name: str, *scopes: str) -> Callable[[Greenroom], Awaitable[Principal]]:
    """What makes a service whose key has these scopes."""

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
