"""ValidateToken: what a token is worth, to whom, and from when on it is worth nothing."""

from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2, session_service_pb2, token_service_pb2
from tests.rpc.auth.keys import (
    INTROSPECT,
    WEB_STORAGE,
    Metadata,
    create_key,
    list_keys,
    open_session,
    revoke_key,
    service,
    validate,
)
from tests.rpc.auth.scenes import bearer, module_of, turn
from tests.rpc.auth.staff import (
    INVALID,
    MISSING,
    ban,
    delete,
    member_of_staff,
    set_roles,
    suspend,
)
from tests.support.forged_tokens import FORGED
from tests.support.serve import Greenroom, Person
from tests.support.statuses import refused

NOTHING = token_service_pb2.ValidateTokenResponse()
WEB_TOKEN = "4a8e1a1c-70f0-4d06-9b6e-4d9f52e4c8a1"


@pytest.fixture
async def inspector(server: Greenroom) -> Metadata:
    """A service that may look at any token."""
    return await service(server, INTROSPECT)


def _access(person: Person) -> str:
    return str(person.tokens.tokens.access_token)


async def test_an_access_token(server: Greenroom, inspector: Metadata) -> None:
    admin = await member_of_staff(server, "admin", "Ada")
    told = await validate(server, inspector, _access(admin))
    assert told.active and told.kind == token_service_pb2.TOKEN_KIND_ACCESS
    assert (told.user_id, told.session_id, told.api_key_id) == (admin.id, admin.session_id, "")
    assert list(told.roles) == ["admin", "creator"]
    assert "auth.users.read" in told.permissions
    assert (
        told.expire_time.seconds - told.issue_time.seconds == server.settings.access_token_seconds
    )
    assert await validate(server, admin.metadata, _access(admin)) == told


async def test_a_key(server: Greenroom, inspector: Metadata) -> None:
    owner = await member_of_staff(server, "super_admin")
    made = await create_key(server, owner, WEB_STORAGE, "auth.users.read")
    told = await validate(server, inspector, made.key)
    assert told.active and told.kind == token_service_pb2.TOKEN_KIND_API_KEY
    assert (told.user_id, told.session_id, told.api_key_id) == (owner.id, "", made.api_key.id)
    assert not told.roles and list(told.permissions) == ["auth.users.read", WEB_STORAGE]
    assert told.expire_time == made.api_key.expire_time
    boss = await member_of_staff(server, "super_admin", "Boss")
    await set_roles(server, boss, owner.id, "admin")
    assert list((await validate(server, inspector, made.key)).permissions) == ["auth.users.read"]


async def test_a_web_session(server: Greenroom, inspector: Metadata) -> None:
    ada = await server.person("Ada")
    web = await service(server, WEB_STORAGE)
    session = await open_session(server, web, ada.id, WEB_TOKEN)
    told = await validate(server, inspector, WEB_TOKEN)
    assert told.active and told.kind == token_service_pb2.TOKEN_KIND_WEB_SESSION
    assert (told.user_id, told.session_id) == (ada.id, session.id)
    assert list(told.roles) == ["creator"] and told.expire_time == session.expire_time
    # It is told of, and opens nothing.
    await refused(
        server.auth.GetMe(auth_service_pb2.GetMeRequest(), metadata=bearer(WEB_TOKEN)),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_INVALID",
    )


async def test_everybody_looks_at_their_own_tokens_only(server: Greenroom) -> None:
    ada, mallory = await server.person("Ada"), await server.person("Mallory")
    admin = await member_of_staff(server, "super_admin")
    web = await service(server, WEB_STORAGE)
    await open_session(server, web, ada.id, WEB_TOKEN)
    key = (await create_key(server, ada)).key
    strangers = (mallory.metadata, admin.metadata, web)
    for token in (_access(ada), key, WEB_TOKEN):
        for own in (ada.metadata, bearer(key)):
            assert (await validate(server, own, token)).active
        for stranger in strangers:
            assert await validate(server, stranger, token) == NOTHING


async def test_who_may_not_ask(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(validate(server, (), _access(ada)), *MISSING)
    for wrong in ("", "x" * 4097):
        await refused(validate(server, ada.metadata, wrong), *INVALID)


async def test_forged_tokens_are_worth_nothing(server: Greenroom, inspector: Metadata) -> None:
    ada = await server.person("Ada")
    good = _access(ada)
    forged = {token for _, token in FORGED} | {good[:end] for end in range(1, len(good), 3)}
    forged |= {good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :] for at in range(90)}
    assert len(forged) >= 200
    for token in sorted(forged):
        if 0 < len(token) <= 4096:
            assert await validate(server, inspector, token) == NOTHING, token
    assert await validate(server, inspector, ada.tokens.tokens.refresh_token) == NOTHING


async def test_what_has_ended_is_worth_nothing(server: Greenroom, inspector: Metadata) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    made = await create_key(server, ada)
    web = await service(server, WEB_STORAGE)
    session = await open_session(server, web, ada.id, WEB_TOKEN)
    await server.auth.LogOut(auth_service_pb2.LogOutRequest(), metadata=other.metadata)
    assert await validate(server, inspector, _access(other)) == NOTHING
    await revoke_key(server, ada, made.api_key.id)
    assert await validate(server, inspector, made.key) == NOTHING
    # The user ends the framework's session in their own device list.
    await server.sessions.RevokeSession(
        session_service_pb2.RevokeSessionRequest(session_id=session.id), metadata=ada.metadata
    )
    assert await validate(server, inspector, WEB_TOKEN) == NOTHING
    assert (await validate(server, inspector, _access(ada))).active
    turn(server, server.settings.access_token_seconds)
    assert await validate(server, inspector, _access(ada)) == NOTHING


@pytest.mark.parametrize("change", [suspend, ban, delete])
async def test_nothing_of_a_locked_user_is_worth_anything(
    server: Greenroom, inspector: Metadata, change: Any
) -> None:
    ada = await server.person("Ada")
    admin = await member_of_staff(server, "admin")
    web = await service(server, WEB_STORAGE)
    await open_session(server, web, ada.id, WEB_TOKEN)
    tokens = (_access(ada), (await create_key(server, ada)).key, WEB_TOKEN)
    for token in tokens:
        assert (await validate(server, inspector, token)).active
    await change(server, admin, ada.id)
    for token in tokens:
        assert await validate(server, inspector, token) == NOTHING


async def test_who_deleted_their_account_has_no_good_token(
    server: Greenroom, inspector: Metadata
) -> None:
    ada = await server.person("Ada")
    await delete(server, ada, ada.id)
    back = await server.log_in(ada.email)
    assert await validate(server, inspector, _access(back)) == NOTHING


async def test_looking_at_a_key_is_not_using_it(server: Greenroom, inspector: Metadata) -> None:
    ada = await server.person("Ada")
    made = await create_key(server, ada)
    await validate(server, inspector, made.key)
    await module_of(server).authenticator.write_activity()
    (listed,) = (await list_keys(server, ada)).api_keys
    assert not listed.HasField("last_used_time")
