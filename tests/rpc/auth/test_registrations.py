"""ListRegistrations, ApproveRegistration, RejectRegistration: sign-ups in the hands of staff."""

import asyncio
from typing import Any

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import registration_pb2, user_pb2
from greenroom.auth.v1 import registration_service_pb2 as pb
from server.auth.models import Registration
from tests.rpc.auth.scenes import (
    ANOTHER_PASSWORD,
    audit_rows,
    get_me,
    in_unit,
    mail_number,
    set_user,
    sign_up_request,
    turn,
)
from tests.rpc.auth.staff import DAY, DENIED, INVALID, MISSING, member_of_staff, update
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused

ABSENT = "01a1fd55-5306-7254-b82c-94e8d6883617"
NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_REGISTRATION_NOT_FOUND")
DECIDED = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_REGISTRATION_DECIDED")
EXISTS = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_ACCOUNT_EXISTS")
BAD = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
VOID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID")
PENDING = registration_pb2.REGISTRATION_STATUS_PENDING
APPROVED = registration_pb2.REGISTRATION_STATUS_APPROVED
ACTIVATED = registration_pb2.REGISTRATION_STATUS_ACTIVATED
SUPERSEDED = registration_pb2.REGISTRATION_STATUS_SUPERSEDED
REJECTED = registration_pb2.REGISTRATION_STATUS_REJECTED


async def _list(server: Greenroom, by: Person, **query: Any) -> pb.ListRegistrationsResponse:
    request = pb.ListRegistrationsRequest(**query)
    return await server.registrations.ListRegistrations(request, metadata=by.metadata)


async def _approve(
    server: Greenroom, by: Person, registration_id: str
) -> pb.ApproveRegistrationResponse:
    request = pb.ApproveRegistrationRequest(registration_id=registration_id)
    return await server.registrations.ApproveRegistration(request, metadata=by.metadata)


async def _reject(
    server: Greenroom, by: Person, registration_id: str, reason: str = "no such studio"
) -> registration_pb2.Registration:
    request = pb.RejectRegistrationRequest(registration_id=registration_id, reason=reason)
    reply = await server.registrations.RejectRegistration(request, metadata=by.metadata)
    return reply.registration


async def _sign_up(server: Greenroom, by: Person, address: str, **values: Any) -> str:
    """Signs somebody up; the id of the sign-up."""
    await server.auth.SignUp(sign_up_request(address, **values))
    return (await _list(server, by, text=address)).registrations[0].id


async def test_the_list_shows_every_column_but_the_password(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    request = sign_up_request("Ada@Example.com", persona=user_pb2.PERSONA_BRAND)
    request.info = " We make tea.\n"
    await server.auth.SignUp(request)
    (found,) = (await _list(server, admin, text="ADA@")).registrations
    assert (found.email, found.display_name, found.info) == (
        "ada@example.com",
        "ada",
        "We make tea.",
    )
    assert found.persona == user_pb2.PERSONA_BRAND and found.status == PENDING
    assert found.ip_address == "127.0.0.1" and not found.user_id and not found.decided_by
    assert found.expire_time.ToSeconds() - found.create_time.ToSeconds() == 7 * DAY
    assert "$2b$" not in str(found)


async def test_the_list_is_newest_first_and_narrowed_down(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    ids = []
    for name in ("ada", "bob", "cem"):
        turn(server, 1)
        ids.append(await _sign_up(server, admin, f"{name}@x.org"))
    await _reject(server, admin, ids[0])
    await _approve(server, admin, ids[1])

    async def found(**query: Any) -> list[str]:
        return [
            each.id for each in (await _list(server, admin, text="@x.org", **query)).registrations
        ]

    assert await found() == ids[::-1]
    assert await found(status=PENDING) == [ids[2]]
    assert await found(status=APPROVED) == [ids[1]]
    assert await found(status=REJECTED) == [ids[0]]
    assert await found(status=SUPERSEDED) == []
    first = await _list(server, admin, text="@x.org", page_size=2)
    rest = await _list(server, admin, text="@x.org", page_size=2, page_token=first.next_page_token)
    assert [each.id for each in (*first.registrations, *rest.registrations)] == ids[::-1]
    await refused(_list(server, admin, page_size=-1), *INVALID)


async def test_an_approved_person_logs_in_and_proves_their_address_later(
    server: Greenroom,
) -> None:
    admin = await member_of_staff(server)
    waiting = await _sign_up(server, admin, "ada@example.com")
    token = await server.mailed_token("ada@example.com")
    await refused(server.log_in("ada@example.com"), *BAD)
    reply = await _approve(server, admin, waiting)
    assert reply.registration.status == APPROVED and reply.registration.decided_by == admin.id
    assert reply.registration.user_id == reply.user.id
    assert reply.user.status == user_pb2.USER_STATUS_ACTIVE
    assert not reply.user.HasField("email_verified_time")
    ada = await server.log_in("ada@example.com")
    assert list((await get_me(server, ada.metadata)).roles) == ["creator"]
    assert "approved" in str((await mail_number(server, "ada@example.com", 2))["Subject"])
    turn(server, 60)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    assert (await get_me(server, ada.metadata)).HasField("email_verified_time")
    (row,) = (await _list(server, admin, text="ada@example.com")).registrations
    assert row.status == ACTIVATED
    await refused(_approve(server, admin, waiting), *DECIDED)


async def test_approval_takes_no_address_from_its_owner(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    owner = await _sign_up(server, admin, "ada@example.com", password=ANOTHER_PASSWORD)
    token = await server.mailed_token("ada@example.com")
    squatter = await _sign_up(server, admin, "ada@example.com")
    await _approve(server, admin, squatter)
    thief = await server.log_in("ada@example.com")
    await get_me(server, thief.metadata)
    # What a squatter leaves behind is no way back in.
    await set_user(server, thief, phone="+491701234567", phone_verified_at=server.clock.now())
    await update(server, thief, thief.id, username="squatter", first_name="Not Ada")
    await refused(_approve(server, admin, owner), *EXISTS)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    assert await code_of(get_me(server, thief.metadata)) is StatusCode.UNAUTHENTICATED
    await refused(server.log_in("ada@example.com"), *BAD)
    ada = await server.log_in("ada@example.com", ANOTHER_PASSWORD)
    me = await get_me(server, ada.metadata)
    assert (me.username, me.phone, me.first_name) == (
        "",
        "",
        "",
    ) and not me.phone_verified_time.seconds


async def test_a_rejected_sign_up_is_void_and_told_why(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    waiting = await _sign_up(server, admin, "ada@example.com")
    token = await server.mailed_token("ada@example.com")
    rejected = await _reject(server, admin, waiting, "no such\nToken: studio")
    assert rejected.status == REJECTED and rejected.decided_by == admin.id
    mail = await mail_number(server, "ada@example.com", 2)
    body = mail.get_body(("plain",))
    assert body is not None and "no such" in body.get_content()
    assert "\nToken:" not in body.get_content(), "a reason forges no line of the mail"
    verify = auth_pb.VerifyEmailRequest(token=token)
    await refused(server.auth.VerifyEmail(verify), *VOID)
    await refused(_approve(server, admin, waiting), *DECIDED)
    assert await _reject(server, admin, waiting, "again") == rejected
    rows = await audit_rows(server)
    assert rows.count(("registration.reject", "OK")) == 1
    await _sign_up(server, admin, "ada@example.com")
    await server.auth.VerifyEmail(
        auth_pb.VerifyEmailRequest(token=await server.mailed_token("ada@example.com", 3))
    )
    await server.log_in("ada@example.com")


async def test_each_is_decided_once(server: Greenroom) -> None:
    admins = [await member_of_staff(server) for _ in range(4)]
    waiting = await _sign_up(server, admins[0], "ada@example.com")
    token = await server.mailed_token("ada@example.com")
    storm = [code_of(_approve(server, admin, waiting)) for admin in admins]
    storm += [code_of(_reject(server, admin, waiting)) for admin in admins]
    storm += [code_of(server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token)))]
    await asyncio.gather(*storm)
    rows = await audit_rows(server)
    decisions = rows.count(("registration.approve", "OK")) + rows.count(
        ("registration.reject", "OK")
    )
    verified = rows.count(("registration.verify_email", "OK"))
    assert decisions + verified >= 1 and decisions <= 1
    (row,) = (await _list(server, admins[0], text="ada@example.com")).registrations
    assert row.status in (APPROVED, ACTIVATED, REJECTED)
    assert (row.status == REJECTED) == (not row.user_id)


async def test_what_cannot_be_decided(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    for call in (_approve, _reject):
        await refused(call(server, admin, ABSENT), *NOT_FOUND)
        await refused(call(server, ada, ABSENT), *DENIED)
        await refused(call(server, Person("", "", ada.tokens, ()), ABSENT), *MISSING)
    waiting = await _sign_up(server, admin, "late@example.com")
    await refused(_reject(server, admin, waiting, ""), *INVALID)
    await refused(_list(server, ada), *DENIED)
    await refused(_list(server, await member_of_staff(server, "viewer")), *DENIED)
    second = await _sign_up(server, admin, "held@example.com")
    await _approve(server, admin, second)
    assert (await _approve(server, admin, second)).registration.status == APPROVED
    await refused(_reject(server, admin, second), *DECIDED)
    rows = await audit_rows(server)
    assert rows.count(("registration.approve", "OK")) == 1


async def test_an_expired_sign_up_waits_no_more(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    waiting = await _sign_up(server, admin, "late@example.com")

    def expire(unit: Any) -> None:
        Registration.update(expires_at=unit.now).where(Registration.id == waiting).execute()

    await in_unit(server, expire, write=True)
    await refused(_approve(server, admin, waiting), *DECIDED)
    await refused(_reject(server, admin, waiting), *DECIDED)
