"""SuspendUser, ReinstateUser, BanUser: who is locked out by whom, how soon, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_pb2
from greenroom.auth.v1 import user_service_pb2 as pb
from server.auth.models import Session, User
from server.auth.usecases import cleanup
from tests.rpc.auth.scenes import (
    audit_rows,
    get_me,
    in_unit,
    mail_number,
    refresh,
    refused_after,
    set_user,
    turn,
)
from tests.rpc.auth.staff import (
    DAY,
    INVALID,
    LAST,
    NOT_FOUND,
    OWN,
    REVOKED,
    STATUS,
    SUPER_ONLY,
    ban,
    delete,
    get_user,
    later,
    member_of_staff,
    reinstate,
    suspend,
    undelete,
)
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused

Verb = Callable[[Greenroom, Person, str], Awaitable[user_pb2.User]]
BAD = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
SPENT = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID")
ABSENT = "01a1fd55-5306-7254-b82c-94e8d6883617"
ACTIVE = user_pb2.USER_STATUS_ACTIVE
SUSPENDED = user_pb2.USER_STATUS_SUSPENDED
BANNED = user_pb2.USER_STATUS_BANNED


async def _log_in(server: Greenroom, person: Person) -> Person:
    return await server.log_in(person.email)


async def test_a_suspension_locks_until_its_time(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    phone = await _log_in(server, ada)
    await get_me(server, ada.metadata)
    locked = await suspend(server, admin, ada.id)
    assert locked.status == SUSPENDED and locked.status_reason == "spam in three channels"
    assert locked.suspended_until_time == later(server)
    await refused(get_me(server, ada.metadata), *REVOKED)
    await refused(get_me(server, phone.metadata), *REVOKED)
    await refused(refresh(server, ada.tokens.tokens.refresh_token), *SPENT)
    await refused(_log_in(server, ada), *BAD)
    turn(server, DAY - 1)
    await refused(_log_in(server, ada), *BAD)
    turn(server, 2)
    back = await get_me(server, (await _log_in(server, ada)).metadata)
    assert back.status == ACTIVE and not back.HasField("suspended_until_time")

    def reasons(_unit: object) -> set[str | None]:
        return {row.revoked_reason for row in Session.select().where(Session.is_revoked)}

    assert await in_unit(server, reasons) == {"ADMIN"}


async def test_a_suspension_can_be_set_anew_and_lifted(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await suspend(server, admin, ada.id)
    longer = await suspend(server, admin, ada.id, 5 * DAY)
    assert longer.suspended_until_time == later(server, 5 * DAY)
    lifted = await reinstate(server, admin, ada.id)
    assert lifted.status == ACTIVE and lifted.status_reason == ""
    assert not lifted.HasField("suspended_until_time")
    await get_me(server, (await _log_in(server, ada)).metadata)
    assert (await reinstate(server, admin, ada.id)).status == ACTIVE
    rows = await audit_rows(server)
    assert rows.count(("user.suspend", "OK")) == 2 and rows.count(("user.reinstate", "OK")) == 1


async def test_a_ban_stays_until_it_is_lifted(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    banned = await ban(server, admin, ada.id)
    assert banned.status == BANNED and banned.status_reason == "fraud"
    await refused(get_me(server, ada.metadata), *REVOKED)
    turn(server, 400 * DAY)
    admin = await _log_in(server, admin)
    await refused(_log_in(server, ada), *BAD)
    await refused(suspend(server, admin, ada.id), *STATUS)
    assert (await ban(server, admin, ada.id)).status == BANNED
    assert (await reinstate(server, admin, ada.id)).status == ACTIVE
    await get_me(server, (await _log_in(server, ada)).metadata)
    assert (await audit_rows(server)).count(("user.ban", "OK")) == 1


async def test_a_lock_bites_within_a_second_also_when_another_process_sets_it(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    await get_me(server, ada.metadata)
    await set_user(server, ada, status="BANNED")
    assert await refused_after(server, ada.metadata) < 1.0


@pytest.mark.parametrize("verb", [suspend, ban, reinstate], ids=lambda verb: verb.__name__)
async def test_nobody_locks_themselves_nor_whoever_stands_above(
    server: Greenroom, verb: Verb
) -> None:
    admin, peer = await member_of_staff(server), await member_of_staff(server)
    top, other = [await member_of_staff(server, "super_admin") for _ in range(2)]
    await refused(verb(server, admin, admin.id), *OWN)
    await refused(verb(server, top, top.id), *OWN)
    await refused(verb(server, admin, top.id), *SUPER_ONLY)
    await refused(verb(server, admin, ABSENT), *NOT_FOUND)
    await verb(server, admin, peer.id)
    await verb(server, top, other.id)


@pytest.mark.parametrize("verb", [suspend, ban], ids=lambda verb: verb.__name__)
async def test_a_super_admin_in_use_is_always_left(server: Greenroom, verb: Verb) -> None:
    tops = [await member_of_staff(server, "super_admin", f"top{number}") for number in range(4)]
    # Each locks the next one, all at once: whoever is locked in time cannot lock any more.
    storm = [verb(server, top, tops[number - 1].id) for number, top in enumerate(tops)]
    await asyncio.gather(*(code_of(call) for call in storm))

    def in_use(_unit: object) -> int:
        return User.holding("super_admin").where(User.status == "ACTIVE").count()

    assert await in_unit(server, in_use) >= 1
    ann, bob = [await member_of_staff(server, "super_admin", name) for name in ("ann", "bob")]
    for top in tops:
        await set_user(server, top, status="BANNED")
    codes = await asyncio.gather(
        code_of(verb(server, ann, bob.id)), code_of(verb(server, bob, ann.id))
    )
    assert sorted(code is StatusCode.OK for code in codes) == [False, True]
    assert await in_unit(server, in_use) == 1


async def test_the_last_one_is_told_so(server: Greenroom) -> None:
    top = await member_of_staff(server, "super_admin")
    other = await member_of_staff(server, "super_admin")
    await get_me(server, other.metadata)
    # As if they had been locked in this very moment, before this process heard of it.
    await suspend(server, top, other.id)
    await set_user(server, other, status="ACTIVE")
    back = await _log_in(server, other)
    await get_user(server, back, back.id)

    def lock(_unit: object) -> None:
        User.update(status="BANNED").where(User.id == other.id).execute()

    await in_unit(server, lock, write=True)
    await refused(suspend(server, back, top.id), *LAST)


async def test_the_end_of_a_suspension_lies_ahead(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    for seconds in (-1.0, 0.0, 3660 * DAY):
        await refused(suspend(server, admin, ada.id, seconds), *INVALID)
    request = pb.SuspendUserRequest(user_id=ada.id, reason="x")
    await refused(server.users.SuspendUser(request, metadata=admin.metadata), *INVALID)
    request = pb.SuspendUserRequest(user_id=ada.id, until_time=later(server))
    await refused(server.users.SuspendUser(request, metadata=admin.metadata), *INVALID)


async def test_a_pending_account_is_banned_but_not_suspended(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    made = await server.users.CreateUser(
        pb.CreateUserRequest(email="new@example.com"), metadata=admin.metadata
    )
    await refused(suspend(server, admin, made.user.id), *STATUS)
    assert (await ban(server, admin, made.user.id)).status == BANNED
    lifted = await reinstate(server, admin, made.user.id)
    assert lifted.status == user_pb2.USER_STATUS_PENDING, "a lifted ban proves no address"
    await refused(reinstate(server, admin, made.user.id), *STATUS)


async def test_the_clean_up_tidies_up_behind_suspensions(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    bob = await server.person("Bob")
    await suspend(server, admin, ada.id)
    await suspend(server, admin, bob.id, 9 * DAY)
    turn(server, 2 * DAY)
    for step in cleanup.steps(server.running.parts.clock.now() - server.clock.now()):
        await in_unit(server, step, write=True)

    def statuses(_unit: object) -> list[str]:
        return [User.get_by_id(person.id).status for person in (ada, bob)]

    assert await in_unit(server, statuses) == ["ACTIVE", "SUSPENDED"]


async def test_a_lock_reaches_sign_ins_that_are_under_way(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    request = auth_pb.LogInRequest(email=ada.email, password="correct horse battery staple")
    calls = [server.auth.LogIn(request) for _ in range(8)]
    replies = await asyncio.gather(*calls, suspend(server, admin, ada.id), return_exceptions=True)
    sessions = [reply.signed_in for reply in replies if isinstance(reply, auth_pb.LogInResponse)]
    for signed_in in sessions:
        metadata = (("authorization", f"Bearer {signed_in.tokens.access_token}"),)
        await refused(get_me(server, metadata), *REVOKED)


async def test_people_are_told_what_happened_to_their_account_but_not_why(
    server: Greenroom,
) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await suspend(server, admin, ada.id)
    await reinstate(server, admin, ada.id)
    await ban(server, admin, ada.id)
    await delete(server, admin, ada.id)
    await undelete(server, admin, ada.id)
    await reinstate(server, admin, ada.id)
    await delete(server, ada := await server.log_in(ada.email), ada.id)
    await undelete(server, await server.log_in(ada.email), ada.id)
    await mail_number(server, ada.email, 8)
    bodies = [str(mail.get_body(("plain",))) for mail in server.mails(ada.email)]
    assert not any("spam" in body or "fraud" in body for body in bodies)
    subjects = {str(mail["Subject"]) for mail in server.mails(ada.email)}
    assert len(subjects) == 6, subjects
