"""GetUser, ListUsers, UpdateUser: who sees what, and who may change it."""

import asyncio
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from greenroom.auth.v1 import user_pb2
from greenroom.auth.v1 import user_service_pb2 as pb
from tests.rpc.auth.scenes import audit_rows, get_me, module_of, set_user, turn
from tests.rpc.auth.second_factors import enrol
from tests.rpc.auth.staff import (
    DAY,
    ETAG,
    INVALID,
    NOT_FOUND,
    STATUS,
    SUPER_ONLY,
    ban,
    delete,
    get_user,
    give,
    list_users,
    member_of_staff,
    suspend,
    update,
)
from tests.support.serve import Greenroom
from tests.support.statuses import code_of, failure_of, refused

MASK = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD_MASK")
TAKEN = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_USERNAME_TAKEN")
NAMELESS = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_USERNAME_REQUIRED")
FORBIDDEN = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_FIELD_FORBIDDEN")
NOT_HELD = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_PRIMARY_ROLE_NOT_HELD")
ABSENT = "01a1fd55-5306-7254-b82c-94e8d6883617"


async def test_an_account_is_seen_by_its_owner_and_by_administrators(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await set_user(
        server,
        ada,
        first_name="Ada",
        last_name="King",
        phone="+491701234567",
        avatar_url="https://example.com/a.png",
        avatar_media_id="m1",
        cover_url="https://example.com/c.png",
        access_level="UPLOAD",
        allowed_channels=["c1", "c2"],
        status_reason="looked at by hand",
        last_online_at=server.clock.now(),
    )
    own = await get_user(server, ada, ada.id)
    assert own.email == ada.email and own.phone == "+491701234567"
    assert (own.first_name, own.last_name, own.display_name) == ("Ada", "King", "Ada")
    assert (own.avatar_url, own.avatar_media_id) == ("https://example.com/a.png", "m1")
    assert own.cover_url == "https://example.com/c.png"
    assert own.primary_role == "creator" and list(own.roles) == ["creator"]
    assert own.signup_provider == "email" and own.status == user_pb2.USER_STATUS_ACTIVE
    assert own.access_level == user_pb2.ACCESS_LEVEL_UPLOAD
    assert list(own.allowed_channels) == ["c1", "c2"]
    assert own.HasField("last_online_time") and own.HasField("last_login_time")
    assert not own.HasField("suspended_until_time") and not own.HasField("purge_time")
    assert own.etag and not own.two_factor_enabled
    assert own.status_reason == "", "what staff wrote is not for the owner"
    seen = await get_user(server, admin, ada.id)
    assert seen.status_reason == "looked at by hand"
    seen.status_reason = ""
    assert seen == own
    assert await get_me(server, ada.metadata) == own


async def test_a_foreign_account_is_answered_like_an_absent_one(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    viewer = await member_of_staff(server, "viewer")
    for person in (bob, viewer):
        errors = []
        for user_id in (ada.id, ABSENT):
            asked = pb.GetUserRequest(user_id=user_id)
            errors.append(await failure_of(server.users.GetUser(asked, metadata=person.metadata)))
        changes = [
            await failure_of(update(server, person, user_id, display_name="x"))
            for user_id in (ada.id, ABSENT)
        ]
        for foreign, absent in (errors, changes):
            assert foreign.code() is absent.code() is StatusCode.NOT_FOUND
            assert foreign.details() == absent.details()
    await refused(get_user(server, await member_of_staff(server), ABSENT), *NOT_FOUND)


async def test_the_list_is_newest_first_and_comes_in_pages(server: Greenroom) -> None:
    people = []
    for name in ("Ada", "Bob", "Cem", "Dan"):
        people.append(await server.person(name))
        turn(server, 1)
    admin = await member_of_staff(server)
    found: list[str] = []
    token = ""
    while True:
        page = await list_users(server, admin, page_size=2, page_token=token)
        found += [user.id for user in page.users]
        if not (token := page.next_page_token):
            break
    assert found == [admin.id, *(person.id for person in reversed(people))]
    page = await list_users(server, admin, page_size=1, order_by="create_time")
    assert page.users[0].id == people[0].id and list(page.users[0].roles) == ["creator"]
    named = await list_users(server, admin, order_by="display_name desc", page_size=2)
    assert [user.display_name for user in named.users] == ["Staff", "Dan"]
    bad = list_users(server, admin, page_token=page.next_page_token, order_by="display_name")
    await refused(bad, StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN")
    await refused(list_users(server, admin, order_by="email"), *INVALID)
    await refused(list_users(server, admin, page_size=201), *INVALID)


async def test_the_list_is_narrowed_by_role_status_and_text(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    ada, bob = await server.person("Ada"), await server.person("Bob")
    await give(server, bob, "teacher")

    async def ids(**query: Any) -> set[str]:
        return {user.id for user in (await list_users(server, admin, **query)).users}

    await update(server, ada, ada.id, display_name="Ådä 100%_Žižek", username="Countess")
    await set_user(server, bob, phone="+491701234567")
    assert await ids(role="teacher") == {bob.id}
    assert await ids(role="admin") == {admin.id}
    assert await ids(role="nobody") == set()
    for text in ("ÅDÄ", "åd", "ŽIŽ", "100%_", "COUNTESS", ada.email.upper()):
        assert await ids(text=text) == {ada.id}, text
    assert await ids(text="100_") == await ids(text="%") - {ada.id} == set()
    assert await ids(text="\\") == set()
    await update(server, bob, bob.id, display_name="Bobby")
    assert await ids(text="917012") == {bob.id}, "the number is searched for as well"
    assert await ids(text="example.com") == {ada.id, bob.id, admin.id}

    await suspend(server, admin, ada.id, 2 * DAY)
    await delete(server, admin, bob.id)
    assert await ids() == {admin.id, ada.id}
    assert await ids(status=user_pb2.USER_STATUS_SUSPENDED) == {ada.id}
    assert await ids(status=user_pb2.USER_STATUS_DELETED) == {bob.id}
    assert await ids(status=user_pb2.USER_STATUS_ACTIVE) == {admin.id}
    turn(server, 3 * DAY)
    again = await server.log_in(admin.email)
    over = await list_users(server, again, status=user_pb2.USER_STATUS_ACTIVE)
    assert {user.id for user in over.users} == {admin.id, ada.id}
    assert {user.status for user in over.users} == {user_pb2.USER_STATUS_ACTIVE}
    assert await code_of(list_users(server, again, status=user_pb2.USER_STATUS_SUSPENDED)) is (
        StatusCode.OK
    )


async def test_owners_change_what_is_theirs(server: Greenroom) -> None:
    ada = await server.person("Ada")
    assert (await get_me(server, ada.metadata)).display_name == "Ada"
    changed = await update(
        server,
        ada,
        ada.id,
        display_name=" Countess\n",
        first_name="Ada",
        last_name="King",
        username="Ada.King",
        avatar_url="https://example.com/a.png",
        cover_url="http://example.com/c.png",
        language="de-AT",
        onboarding_step=3,
        onboarding_completed=True,
    )
    assert changed.display_name == "Countess" and changed.username == "ada.king"
    assert (changed.language, changed.onboarding_step) == ("de-AT", 3)
    assert changed.onboarding_completed and changed.last_name == "King"
    assert await get_me(server, ada.metadata) == changed, "the reply kept in memory is dropped"
    cleared = await update(server, ada, ada.id, username="", first_name="", avatar_url="")
    assert (cleared.username, cleared.first_name, cleared.avatar_url) == ("", "", "")
    assert ("user.update", "OK") in await audit_rows(server)


async def test_owners_change_nothing_else(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    for person, user_id in ((ada, ada.id), (admin, admin.id)):
        level = user_pb2.ACCESS_LEVEL_MANAGE
        await refused(update(server, person, user_id, access_level=level), *FORBIDDEN)
        await refused(update(server, person, user_id, primary_role="creator"), *FORBIDDEN)
    for values in ({"email": "x@example.com"}, {"phone": "+4917000000"}, {"signup_provider": "x"}):
        await refused(update(server, admin, ada.id, **values), *MASK)
    await refused(update(server, ada, ada.id), *MASK)
    for bad in (
        {"avatar_url": "javascript:alert(1)"},
        {"username": "a@example.com"},
        {"username": "ab"},
        {"display_name": "x" * 101},
        {"language": "../../etc"},
        {"onboarding_step": -1},
    ):
        await refused(update(server, ada, ada.id, **bad), *INVALID)


async def test_staff_change_more_but_not_super_admins(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    top = await member_of_staff(server, "super_admin")
    other = await member_of_staff(server, "super_admin")
    level = user_pb2.ACCESS_LEVEL_PUBLISH
    assert (await update(server, admin, ada.id, access_level=level)).access_level == level
    await refused(update(server, admin, ada.id, primary_role="teacher"), *NOT_HELD)
    assert (await update(server, admin, ada.id, primary_role="")).primary_role == ""
    assert (await update(server, admin, ada.id, primary_role="creator")).primary_role == "creator"
    await refused(update(server, admin, top.id, display_name="x"), *SUPER_ONLY)
    assert (await update(server, other, top.id, display_name="x")).display_name == "x"
    await ban(server, admin, ada.id)
    assert (await update(server, admin, ada.id, display_name="y")).display_name == "y"
    await delete(server, admin, ada.id)
    await refused(update(server, admin, ada.id, display_name="z"), *STATUS)


async def test_a_username_is_unique_whatever_its_case(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    await update(server, ada, ada.id, username="countess")
    error = await refused(update(server, bob, bob.id, username="COUNTESS"), *TAKEN)
    assert "user.username" in str(error.trailing_metadata())
    assert (await update(server, ada, ada.id, username="Countess")).username == "countess"
    await give(server, ada, "student")
    await refused(update(server, ada, ada.id, username=""), *NAMELESS)
    people = [ada, bob, *[await server.person(f"p{number}") for number in range(4)]]
    storm = [code_of(update(server, person, person.id, username="Same")) for person in people]
    codes = await asyncio.gather(*storm)
    assert sorted(code.name for code in codes) == ["ALREADY_EXISTS"] * 5 + ["OK"]


@pytest.mark.parametrize("by_staff", [False, True])
async def test_no_update_undoes_another(server: Greenroom, by_staff: bool) -> None:
    ada = await server.person("Ada")
    actors = [await member_of_staff(server) for _ in range(8)] if by_staff else [ada] * 8
    etag = (await get_user(server, ada, ada.id)).etag
    turn(server, 60)
    await server.log_in(ada.email)
    assert (await get_user(server, ada, ada.id)).etag == etag, "a log-in is no edit"
    storm = [
        code_of(update(server, actor, ada.id, etag=etag, display_name=f"name {number}"))
        for number, actor in enumerate(actors)
    ]
    codes = await asyncio.gather(*storm)
    assert sorted(code.name for code in codes) == ["ABORTED"] * 7 + ["OK"]
    await refused(update(server, ada, ada.id, etag=etag, display_name="late"), *ETAG)
    fresh = await get_user(server, ada, ada.id)
    assert (await update(server, ada, ada.id, etag=fresh.etag, first_name="A")).first_name == "A"


async def test_an_account_says_when_it_was_last_seen(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    assert not (await get_user(server, admin, ada.id)).HasField("last_online_time")
    await get_me(server, ada.metadata)
    etag = (await get_user(server, admin, ada.id)).etag
    await module_of(server).authenticator.write_activity()
    seen = await get_user(server, admin, ada.id)
    minute = server.clock.now().replace(second=0, microsecond=0)
    assert seen.last_online_time.ToSeconds() == int(minute.timestamp()) and seen.etag == etag


async def test_an_account_says_whether_it_has_a_second_factor(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    assert not (await get_me(server, ada.metadata)).two_factor_enabled
    who = await enrol(server, ada)
    assert (await get_me(server, ada.metadata)).two_factor_enabled
    assert (await get_user(server, admin, ada.id)).two_factor_enabled
    (user,) = (await list_users(server, admin, text=ada.email)).users
    assert user.two_factor_enabled
    (factor,) = (
        await server.mfa.ListMfaFactors(mfa_pb.ListMfaFactorsRequest(), metadata=ada.metadata)
    ).factors
    request = mfa_pb.DeleteMfaFactorRequest(factor_id=factor.id)
    await server.mfa.DeleteMfaFactor(request, metadata=who.person.metadata)
    assert not (await get_me(server, ada.metadata)).two_factor_enabled
