"""Staff above staff, and staff on themselves (A-2): nobody acts on a super_admin but another one, nobody
locks, frees or promotes themselves, and nobody gives what they do not hold."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from greenroom.auth.v1 import api_key_service_pb2 as api_key_pb
from greenroom.auth.v1 import session_service_pb2 as session_pb
from greenroom.auth.v1 import user_pb2, web_user_pb2
from greenroom.auth.v1 import web_account_service_pb2 as account_pb
from greenroom.auth.v1 import web_authenticator_service_pb2 as authenticator_pb
from server.auth.models import Identity, UserRole
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit
from tests.rpc.auth.staff import SUPER_ONLY, member_of_staff
from tests.rpc.test_matrix_objects import somebody
from tests.support.digests import table_digests
from tests.support.principals import Principal
from tests.support.resources import RESOURCES, REST_OF_REQUEST
from tests.support.serve import Greenroom, Person
from tests.support.services import all_methods
from tests.support.statuses import refused

VERBS = ("UpdateUser", "SuspendUser", "BanUser", "ReinstateUser", "DeleteUser", "UndeleteUser")
NEVER_ON_ONESELF = ("SuspendUser", "BanUser", "ReinstateUser", "SetUserRoles")

Try = tuple[str, dict[str, Any]]


def _about(name: str, user_id: str, **fields: Any) -> Try:
    if name == "UpdateUser":
        return name, {"user.id": user_id, **fields}
    return name, {"user_id": user_id, **fields}


async def _tries_of_a_service(server: Greenroom) -> list[Try]:
    """What a web framework's key must not do to an account with a role of staff, so that who steals
    the key does not become staff."""
    boss = await member_of_staff(server, "viewer", "Boss")
    account = await RESOURCES["identity_id"](server, boss)
    identity = await in_unit(server, lambda _unit: Identity.get_by_id(account))
    mask = FieldMask(paths=["email"])
    moved = web_user_pb2.WebUser(id=boss.id, email="thief@example.com")
    linked = account_pb.WebAccount(
        user_id=boss.id, type="oidc", provider="acme", provider_account_id="a thief"
    )
    renewed = account_pb.WebAccount(
        user_id=boss.id,
        type="oidc",
        provider=identity.provider,
        provider_account_id=identity.provider_account_id,
        access_token="a thief's",
    )
    key = authenticator_pb.WebAuthenticator(
        user_id=boss.id,
        credential_id="a thief's",
        provider_account_id="a thief",
        credential_public_key="key",
        credential_device_type="singleDevice",
    )
    unlink = {"provider": identity.provider, "provider_account_id": identity.provider_account_id}
    return [
        ("UpdateWebUser", {"user": moved, "update_mask": mask}),
        ("DeleteWebUser", {"user_id": boss.id}),
        ("LinkWebAccount", {"account": linked}),
        ("LinkWebAccount", {"account": renewed}),
        ("UnlinkWebAccount", unlink),
        ("CreateWebAuthenticator", {"authenticator": key}),
    ]


async def _endings(server: Greenroom, owner: Person) -> list[Try]:
    """What ends a session and a key of somebody."""
    session_id = await RESOURCES["session_id"](server, owner)
    api_key_id = await RESOURCES["api_key_id"](server, owner)
    return [
        ("RevokeSession", {"session_id": session_id}),
        ("RevokeApiKey", {"api_key_id": api_key_id}),
    ]


async def tries(server: Greenroom, who: Principal) -> list[Try]:
    """What a member of staff must not do, whatever they are permitted."""
    if who.kind == "service":
        return await _tries_of_a_service(server)
    # Two of them: the last one is safe for another reason.
    await member_of_staff(server, "super_admin", "Second")
    boss = await member_of_staff(server, "super_admin", "Boss")
    ada = await server.person("Ada")
    found = [_about(name, boss.id) for name in (*VERBS, "SetUserRoles")]
    found += [_about(name, who.user_id) for name in NEVER_ON_ONESELF]
    found += await _endings(server, boss)
    # A role of the system is nobody's to give, and super_admin is a super_admin's.
    found += [_about("SetUserRoles", ada.id, roles=[role]) for role in ("super_admin", "service")]
    found += [
        ("CreateUser", {"email": f"{role}@example.com", "roles": [role]})
        for role in ("super_admin", "service")
    ]
    # Fields of an account that are not its owner's to change, even where the owner is an admin.
    forbidden = user_pb2.User(id=who.user_id, access_level=user_pb2.ACCESS_LEVEL_MANAGE)
    mask = FieldMask(paths=["access_level"])
    found.append(("UpdateUser", {"user": forbidden, "update_mask": mask}))
    if "auth.users.write" not in who.permissions:
        found += [_about(name, ada.id) for name in VERBS]
    return found


async def overreached(server: Greenroom, who: Principal) -> list[tuple[str, dict[str, Any]]]:
    """Those of the tries that were let through, or that left something changed."""
    wrong = []
    for name, fields in await tries(server, who):
        async with server.jobs_at_rest():
            before = await in_unit(server, table_digests)
            went_through = await _sent(server, who, name, fields)
            after = await in_unit(server, table_digests)
        if went_through or after != before:
            wrong.append((name, fields))
    return wrong


async def _sent(server: Greenroom, who: Principal, name: str, fields: dict[str, Any]) -> bool:
    (method,) = (one for one in all_methods() if one.name == name)
    rest = REST_OF_REQUEST.get(name, lambda _server: {})(server)
    values = {key: value for key, value in fields.items() if key != "user.id"}
    request: Any = GetMessageClass(method.input_type)(**{**rest, **values})
    if "user.id" in fields:
        request.user.id = fields["user.id"]
    channel: Any = server.channel
    call = channel.unary_unary(f"/{method.containing_service.full_name}/{name}")
    try:
        await call(request.SerializeToString(), metadata=who.metadata)
    except aio.AioRpcError:
        return False
    return True


@pytest.mark.parametrize("role", ["admin", "powerful admin", "reading admin"])
async def test_an_admin_reaches_nobody_above(server: Greenroom, role: str) -> None:
    assert await overreached(server, await somebody(server, role)) == []


async def test_a_service_does_not_touch_staff(server: Greenroom) -> None:
    who = await somebody(server, "service")
    assert await overreached(server, who) == []
    found = await _tries_of_a_service(server)
    boss = found[1][1]["user_id"]

    def demote(_unit: Unit) -> None:
        UserRole.delete().where(UserRole.user == boss).execute()

    # Against tries that fail for another reason: without the role they are let through.
    await in_unit(server, demote, write=True)
    deleted_last = sorted(found, key=lambda one: one[0] == "DeleteWebUser")
    assert [one for one in deleted_last if not await _sent(server, who, *one)] == []


@pytest.mark.parametrize("name", NEVER_ON_ONESELF)
async def test_a_super_admin_does_not_act_on_themselves(server: Greenroom, name: str) -> None:
    who = await somebody(server, "super_admin")
    await member_of_staff(server, "super_admin", "Second")
    assert not await _sent(server, who, *_about(name, who.user_id))


async def test_a_super_admin_may(server: Greenroom) -> None:
    """Against tries that fail for another reason: who may do it is let through."""
    who = await somebody(server, "super_admin")
    await member_of_staff(server, "super_admin", "Third")
    ada = await server.person("Ada")
    boss = await member_of_staff(server, "super_admin", "Boss")
    for ending in await _endings(server, boss):
        assert await _sent(server, who, *ending), ending
    for name in ("UpdateUser", "SuspendUser", "ReinstateUser", "SetUserRoles", "DeleteUser"):
        assert await _sent(server, who, *_about(name, boss.id)), name
    assert await _sent(server, who, *_about("UndeleteUser", boss.id))
    assert await _sent(server, who, *_about("BanUser", boss.id))
    assert await _sent(server, who, *_about("SetUserRoles", ada.id, roles=["super_admin"]))


async def test_an_ending_that_is_refused_says_why(server: Greenroom) -> None:
    """And goes on saying it when there is nothing left to end, so that nobody learns that way."""
    who = await somebody(server, "admin")
    boss = await member_of_staff(server, "super_admin", "Boss")
    session, key = await _endings(server, boss)
    by_id = session_pb.RevokeSessionRequest(session_id=session[1]["session_id"])
    by_key = api_key_pb.RevokeApiKeyRequest(api_key_id=key[1]["api_key_id"])
    for _ in range(2):
        await refused(server.sessions.RevokeSession(by_id, metadata=who.metadata), *SUPER_ONLY)
        await refused(server.api_keys.RevokeApiKey(by_key, metadata=who.metadata), *SUPER_ONLY)
        # Of their own there is nothing that they may not end.
        await server.sessions.RevokeSession(by_id, metadata=boss.metadata)
        await server.api_keys.RevokeApiKey(by_key, metadata=boss.metadata)
