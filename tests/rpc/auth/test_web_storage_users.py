"""WebUserService: the accounts of a web framework."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2, user_pb2
from greenroom.auth.v1 import web_user_service_pb2 as pb
from server.auth.models import (
    ApiKey,
    Credential,
    Identity,
    Session,
    User,
    UserRole,
    WebAuthenticator,
)
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.keys import (
    EXISTS,
    PROTECTED,
    WEB_STORAGE,
    Metadata,
    audited,
    create_key,
    create_web_user,
    delete_web_user,
    find_account,
    find_by_account,
    find_by_email,
    find_session,
    get_web_user,
    link,
    open_session,
    service,
    update_web_user,
)
from tests.rpc.auth.scenes import bearer, get_me, in_unit, sign_up_request
from tests.rpc.auth.staff import (
    DENIED,
    ETAG,
    INVALID,
    MISSING,
    REVOKED,
    STATUS,
    ban,
    delete,
    later,
    member_of_staff,
)
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import code_of, failure_of, reason_of, refused

BAD = "AUTH_ERROR_REASON_BAD_CREDENTIALS"


@pytest.fixture
async def web(server: Greenroom) -> Metadata:
    """The key of a web framework."""
    return await service(server, WEB_STORAGE)


async def test_an_account_is_made_and_found(server: Greenroom, web: Metadata) -> None:
    when = Timestamp(seconds=1_700_000_000, nanos=123_000_000)
    user = await create_web_user(
        server,
        web,
        "Fill@Murray.com",
        email_verified_time=when,
        display_name="Fill Murray",
        avatar_url="https://www.fillmurray.com/460/300",
    )
    assert user.email == "fill@murray.com" and user.email_verified_time == when
    assert user.display_name == "Fill Murray" and user.status == user_pb2.USER_STATUS_ACTIVE
    assert await get_web_user(server, web, user.id) == user
    for spelling in ("fill@murray.com", "FILL@MURRAY.COM"):
        assert await find_by_email(server, web, spelling) == user
    await link(server, web, user.id)
    assert await find_by_account(server, web, "acme", "4711") == user
    row = await in_unit(server, lambda _unit: User.get_by_id(user.id))
    assert row.signup_provider == "web"


async def test_what_is_absent_is_an_empty_answer(server: Greenroom, web: Metadata) -> None:
    assert await get_web_user(server, web, new_id()) is None
    assert await find_by_email(server, web, "nobody@example.com") is None
    assert await find_by_account(server, web, "acme", "nobody") is None
    assert await update_web_user(server, web, new_id(), display_name="x") is None
    assert not await delete_web_user(server, web, new_id())
    assert await find_account(server, web) is None


async def test_an_account_without_an_address(server: Greenroom, web: Metadata) -> None:
    one = await create_web_user(server, web, email_verified_time=later(server, 0))
    other = await create_web_user(server, web, display_name="Other")
    assert not one.email and not one.HasField("email_verified_time") and one.id != other.id
    moved = await update_web_user(server, web, one.id, email="one@example.com")
    assert moved and moved.email == "one@example.com"


async def test_an_address_has_one_account(server: Greenroom, web: Metadata) -> None:
    ada = await server.person("Ada")
    await refused(create_web_user(server, web, ada.email.upper()), *EXISTS)
    address = "one@example.com"
    codes = await asyncio.gather(
        *(code_of(create_web_user(server, web, address)) for _ in range(16))
    )
    assert codes.count(StatusCode.OK) == 1
    assert codes.count(StatusCode.ALREADY_EXISTS) == 15
    other = await create_web_user(server, web, "other@example.com")
    await refused(update_web_user(server, web, other.id, email=address), *EXISTS)


async def test_a_repeat_gets_the_first_reply(server: Greenroom, web: Metadata) -> None:
    request_id = "7f1d8a4e-5d0f-4b7e-9a51-111111111111"
    one = await create_web_user(server, web, "one@example.com", request_id=request_id)
    assert await create_web_user(server, web, "one@example.com", request_id=request_id) == one
    error = await failure_of(create_web_user(server, web, "two@example.com", request_id=request_id))
    assert error.code() is StatusCode.INVALID_ARGUMENT


async def test_only_a_key_with_the_scope_gets_in(server: Greenroom) -> None:
    admin = await member_of_staff(server, "super_admin")
    bare = bearer((await create_key(server, admin, "auth.users.read")).key)
    request = pb.GetWebUserRequest(user_id=admin.id)
    for metadata, expected in (((), MISSING), (admin.metadata, DENIED), (bare, DENIED)):
        await refused(server.web_users.GetWebUser(request, metadata=metadata), *expected)


async def test_fields_are_checked(server: Greenroom, web: Metadata) -> None:
    user = await create_web_user(server, web, "one@example.com")
    wrong: tuple[dict[str, Any], ...] = (
        {"email": "none"},
        {"email": "x" * 250 + "@e.com"},
        {"display_name": "x" * 101},
        {"avatar_url": "javascript:alert(1)"},
        {"email": ""},
    )
    for values in wrong:
        await refused(update_web_user(server, web, user.id, **values), *INVALID)
    for values in wrong[:-1]:
        await refused(create_web_user(server, web, **values), *INVALID)
    await refused(get_web_user(server, web, "x"), *INVALID)
    for paths in ([], ["id"], ["status"], ["*"]):
        request = pb.UpdateWebUserRequest(user=user)
        request.update_mask.paths.extend(paths)
        error = await failure_of(server.web_users.UpdateWebUser(request, metadata=web))
        assert reason_of(error) == "WIRE_ERROR_REASON_INVALID_FIELD_MASK", paths


async def test_an_update_changes_what_the_mask_names(server: Greenroom, web: Metadata) -> None:
    user = await create_web_user(server, web, "one@example.com", display_name="One")
    when = later(server, -1)
    updated = await update_web_user(
        server, web, user.id, etag=user.etag, display_name="Uno", email_verified_time=when
    )
    assert updated and updated.display_name == "Uno" and updated.email == user.email
    assert updated.email_verified_time == when and updated.etag != user.etag
    await refused(update_web_user(server, web, user.id, etag=user.etag, display_name="Eins"), *ETAG)
    moved = await update_web_user(server, web, user.id, email="Uno@example.com")
    assert moved and moved.email == "uno@example.com"
    assert not moved.HasField("email_verified_time")


async def test_a_banned_account_is_seen_and_a_deleted_one_not_changed(
    server: Greenroom, web: Metadata
) -> None:
    admin = await member_of_staff(server, "admin")
    user = await create_web_user(server, web, "one@example.com")
    await ban(server, admin, user.id)
    banned = await get_web_user(server, web, user.id)
    assert banned and banned.status == user_pb2.USER_STATUS_BANNED
    await delete(server, admin, user.id)
    await refused(update_web_user(server, web, user.id, display_name="x"), *STATUS)


async def test_the_address_proven_here_voids_sign_ups_that_wait(
    server: Greenroom, web: Metadata
) -> None:
    address = "squatted@example.com"
    await server.auth.SignUp(sign_up_request(address))
    token = await server.mailed_token(address)
    await create_web_user(server, web, address)
    error = await failure_of(
        server.auth.VerifyEmail(auth_service_pb2.VerifyEmailRequest(token=token))
    )
    assert reason_of(error) == "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID"
    log_in = auth_service_pb2.LogInRequest(email=address, password=PASSWORD)
    assert reason_of(await failure_of(server.auth.LogIn(log_in))) == BAD


async def test_an_address_proven_for_the_first_time_gets_a_clean_account(serve: Any) -> None:
    """Where accounts are in use unproven, somebody may have prepared one for another's address."""
    server = await serve(auto_activate=True)
    web = await service(server, WEB_STORAGE)
    address = "victim@example.com"
    await server.auth.SignUp(sign_up_request(address))
    squatter = await server.log_in(address)
    key = bearer((await create_key(server, squatter)).key)
    await link(server, web, squatter.id, account_id="squatter's")
    await open_session(server, web, squatter.id, "s" * 32)
    proven = await update_web_user(server, web, squatter.id, email_verified_time=later(server, 0))
    assert proven and proven.HasField("email_verified_time")
    for metadata in (squatter.metadata, key):
        await refused(get_me(server, metadata), *REVOKED)
    assert await find_session(server, web, "s" * 32) is None
    assert await find_by_account(server, web, "acme", "squatter's") is None
    log_in = auth_service_pb2.LogInRequest(email=address, password=PASSWORD)
    assert reason_of(await failure_of(server.auth.LogIn(log_in))) == BAD
    # Proven again, as by each sign-in by mail, nothing is lost.
    await link(server, web, squatter.id, account_id="owner's")
    await update_web_user(server, web, squatter.id, email_verified_time=later(server, 5))
    assert await find_by_account(server, web, "acme", "owner's")


async def test_staff_are_not_touched(server: Greenroom, web: Metadata) -> None:
    for role in ("viewer", "admin", "super_admin"):
        staff = await member_of_staff(server, role)
        await refused(
            update_web_user(server, web, staff.id, email=f"{role}@evil.example"), *PROTECTED
        )
        await refused(delete_web_user(server, web, staff.id), *PROTECTED)
        await refused(link(server, web, staff.id, account_id=role), *PROTECTED)
        # They sign in through a framework all the same.
        signed_in = await update_web_user(
            server, web, staff.id, email_verified_time=later(server, 0), display_name="Staff"
        )
        assert signed_in and signed_in.email == staff.email
        await open_session(server, web, staff.id, role + "x" * 32)
        await get_me(server, staff.metadata)


def _rows_of(_unit: Unit, user_id: str) -> int:
    tables: tuple[Any, ...] = (Session, Identity, Credential, UserRole, ApiKey, WebAuthenticator)
    found = sum(table.select().where(table.user == user_id).count() for table in tables)
    return int(found + User.select().where(User.id == user_id).count())


async def test_a_hard_delete_leaves_nothing(server: Greenroom, web: Metadata) -> None:
    ada = await server.person("Ada")
    key = bearer((await create_key(server, ada)).key)
    await link(server, web, ada.id)
    await open_session(server, web, ada.id, "a" * 32)
    assert await in_unit(server, lambda unit: _rows_of(unit, ada.id)) >= 6
    assert await delete_web_user(server, web, ada.id)
    assert await in_unit(server, lambda unit: _rows_of(unit, ada.id)) == 0
    for metadata in (ada.metadata, key):
        await refused(get_me(server, metadata), *REVOKED)
    assert await find_session(server, web, "a" * 32) is None
    assert await find_account(server, web) is None
    assert await get_web_user(server, web, ada.id) is None
    assert not await delete_web_user(server, web, ada.id)
    (row,) = await audited(server, "user.purge")
    assert row.resource == f"users/{ada.id}" and row.actor_kind == "service"
    again = await create_web_user(server, web, ada.email)
    assert again.id != ada.id
