"""Sign-ups by phone, numbers of accounts that staff made, and changes of the number."""

import asyncio
from datetime import timedelta

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import otp_service_pb2 as pb
from greenroom.auth.v1 import registration_service_pb2 as reviews_pb
from greenroom.auth.v1 import user_pb2, user_service_pb2
from greenroom.auth.v1.registration_pb2 import REGISTRATION_STATUS_PENDING
from server.auth.models import Credential, Otp, Registration, User
from server.auth.usecases.user_status import erase
from server.core.unit import Unit
from tests.rpc.auth.otp_scenes import (
    BAD_PHONE,
    INVALID,
    OTHER_PHONE,
    PHONE,
    RECENTLY,
    TOO_MANY,
    another,
    bytes_but_ids,
    change_phone,
    log_in_by_phone,
    new_phone,
    otp_row,
    settled,
    sign_up_by_phone,
    start,
    texted_code,
    texts_to,
    verify,
)
from tests.rpc.auth.scenes import (
    ANOTHER_PASSWORD,
    audit_rows,
    bearer,
    get_me,
    in_unit,
    mail_number,
    module_of,
    rows_inserted,
    set_user,
    turn,
)
from tests.rpc.auth.staff import member_of_staff
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import code_of, refused

VERIFY = pb.OTP_PURPOSE_VERIFY_PHONE
BAD_CREDENTIALS = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
TAKEN = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_PHONE_TAKEN")
UNCHANGED = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PHONE_UNCHANGED")
MISSING = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
NO_FIELD = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")


async def test_a_sign_up_by_phone_becomes_an_account_when_its_code_is_given(
    server: Greenroom,
) -> None:
    signed_up = await sign_up_by_phone(server, "+49 170 1234567")
    assert (signed_up.phone, signed_up.email) == (PHONE, "")
    assert signed_up.otp_expire_time.ToDatetime() == (
        server.clock.now() + timedelta(minutes=10)
    ).replace(tzinfo=None)
    await refused(log_in_by_phone(server, PHONE), *BAD_CREDENTIALS)
    reply = await verify(server, signed_up.otp_id, await texted_code(server, PHONE))
    contact = reply.verified_contact
    assert (contact.purpose, contact.phone) == (VERIFY, PHONE)
    assert contact.status == user_pb2.USER_STATUS_ACTIVE
    assert (contact.onboarding_completed, contact.onboarding_step) == (False, 0)
    signed_in = (await log_in_by_phone(server, PHONE)).signed_in
    me = await get_me(server, bearer(signed_in.tokens.access_token))
    assert (me.phone, me.email, me.display_name) == (PHONE, "", "Ada")
    assert me.phone_verified_time == contact.verify_time and not me.HasField("email_verified_time")
    assert (list(me.roles), me.signup_provider, me.onboarding_step) == (["brand"], "phone", 0)
    assert await audit_rows(server) == [
        ("registration.sign_up", "ACCEPTED"),
        ("session.log_in", "BAD_CREDENTIALS"),
        ("phone.verify", "OK"),
        ("session.log_in", "OK"),
    ]


async def test_either_an_address_or_a_number_is_needed(server: Greenroom) -> None:
    for values in ({}, {"email": "a@example.com", "phone": PHONE}, {"phone": "0170"}):
        request = auth_pb.SignUpRequest(password=PASSWORD, persona=user_pb2.PERSONA_BRAND, **values)
        await refused(server.auth.SignUp(request), *NO_FIELD)
    await refused(sign_up_by_phone(server, "+4917012"), *BAD_PHONE)


async def test_a_taken_number_gets_the_same_answer_and_the_same_work(server: Greenroom) -> None:
    await settled(server, PHONE)
    free = new_phone()
    turn(server, 60)
    passwords = module_of(server).passwords
    answers, writes = set(), []
    for phone in (PHONE, free):
        before = passwords.hashes
        with rows_inserted() as inserted:
            reply = await sign_up_by_phone(server, phone, ANOTHER_PASSWORD)
        writes.append(inserted["registrations"])
        answers.add(bytes_but_ids(reply, phone))
        assert passwords.hashes == before + 1
        await refused(verify(server, reply.otp_id, "000000"), *INVALID)
        error = await refused(sign_up_by_phone(server, phone), *RECENTLY)
        answers.add(error.details().encode())
    assert len(answers) == 2
    assert writes == [1, 1]
    await texted_code(server, free)
    assert len(texts_to(server, PHONE)) == 1
    await log_in_by_phone(server, PHONE)
    await refused(log_in_by_phone(server, PHONE, ANOTHER_PASSWORD), *BAD_CREDENTIALS)


async def test_nobody_prepares_a_password_for_somebody_elses_number(server: Greenroom) -> None:
    theirs = await sign_up_by_phone(server, PHONE, ANOTHER_PASSWORD)
    stray = await texted_code(server, PHONE)
    turn(server, 60)
    mine = await sign_up_by_phone(server, PHONE)
    code = await texted_code(server, PHONE, 2)
    await refused(verify(server, theirs.otp_id, stray), *INVALID)
    await refused(verify(server, theirs.otp_id, code), *INVALID)
    await verify(server, mine.otp_id, code)
    await log_in_by_phone(server, PHONE)
    await refused(log_in_by_phone(server, PHONE, ANOTHER_PASSWORD), *BAD_CREDENTIALS)
    turn(server, 60)
    asked = await start(server, PHONE, VERIFY, theirs.otp_id)
    assert not (await otp_row(server, asked.otp_id)).has_target


async def test_another_code_belongs_to_the_same_sign_up(server: Greenroom) -> None:
    signed_up = await sign_up_by_phone(server, PHONE)
    first = await texted_code(server, PHONE)
    turn(server, 3600)
    strangers = await start(server, PHONE, VERIFY)
    assert not (await otp_row(server, strangers.otp_id)).has_target
    turn(server, 60)
    elsewhere = await start(server, OTHER_PHONE, VERIFY, signed_up.otp_id)
    assert not (await otp_row(server, elsewhere.otp_id)).has_target
    asked = await start(server, PHONE, VERIFY, signed_up.otp_id)
    second = await texted_code(server, PHONE, 2)
    await refused(verify(server, signed_up.otp_id, first), *INVALID)
    await verify(server, asked.otp_id, second)
    await log_in_by_phone(server, PHONE)


async def test_a_sign_up_ends_after_a_week(server: Greenroom) -> None:
    signed_up = await sign_up_by_phone(server, PHONE)

    def age(unit: Unit) -> None:
        Registration.update(expires_at=unit.now).execute()

    code = await texted_code(server, PHONE)
    await in_unit(server, age, write=True)
    await refused(verify(server, signed_up.otp_id, code), *INVALID)
    assert await in_unit(server, lambda _unit: User.select().count()) == 0


async def test_staff_see_approve_and_reject_a_sign_up_by_phone(server: Greenroom) -> None:
    admin = await member_of_staff(server, "admin")
    first = await sign_up_by_phone(server, PHONE)
    await sign_up_by_phone(server, OTHER_PHONE)
    request = reviews_pb.ListRegistrationsRequest(status=REGISTRATION_STATUS_PENDING, text="+4917")
    listed = await server.registrations.ListRegistrations(request, metadata=admin.metadata)
    rows = {row.phone: row for row in listed.registrations}
    assert set(rows) == {PHONE, OTHER_PHONE} and not rows[PHONE].email
    approval = reviews_pb.ApproveRegistrationRequest(registration_id=rows[PHONE].id)
    await server.registrations.ApproveRegistration(approval, metadata=admin.metadata)
    await refused(log_in_by_phone(server, PHONE), *BAD_CREDENTIALS)
    await verify(server, first.otp_id, await texted_code(server, PHONE))
    await log_in_by_phone(server, PHONE)
    rejection = reviews_pb.RejectRegistrationRequest(
        registration_id=rows[OTHER_PHONE].id, reason="Spam"
    )
    await server.registrations.RejectRegistration(rejection, metadata=admin.metadata)


async def test_an_account_that_staff_made_is_in_use_once_its_number_is_proven(
    server: Greenroom,
) -> None:
    admin = await member_of_staff(server, "admin")
    request = user_service_pb2.CreateUserRequest(phone=PHONE, display_name="Bob", roles=["editor"])
    made = (await server.users.CreateUser(request, metadata=admin.metadata)).user
    asked = await start(server, PHONE)
    assert not (await otp_row(server, asked.otp_id)).has_target
    turn(server, 60)
    asked = await start(server, PHONE, VERIFY)
    reply = await verify(server, asked.otp_id, await texted_code(server, PHONE))
    assert reply.verified_contact.status == user_pb2.USER_STATUS_ACTIVE
    turn(server, 60)
    asked = await start(server, PHONE)
    signed_in = (await verify(server, asked.otp_id, await texted_code(server, PHONE, 2))).signed_in
    assert signed_in.user.id == made.id and list(signed_in.user.roles) == ["editor"]
    turn(server, 60)
    again = await start(server, PHONE, VERIFY)
    assert not (await otp_row(server, again.otp_id)).has_target


async def test_who_signs_up_with_the_number_of_an_account_made_by_staff_takes_it_up(
    server: Greenroom,
) -> None:
    admin = await member_of_staff(server, "super_admin")
    request = user_service_pb2.CreateUserRequest(phone=PHONE, roles=["admin", "editor"])
    made = (await server.users.CreateUser(request, metadata=admin.metadata)).user
    signed_up = await sign_up_by_phone(server, PHONE)
    await verify(server, signed_up.otp_id, await texted_code(server, PHONE))
    signed_in = (await log_in_by_phone(server, PHONE)).signed_in
    assert signed_in.user.id == made.id
    assert list(signed_in.user.roles) == ["brand", "editor"]


async def test_an_unproven_number_yields_to_who_proves_it(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await set_user(server, ada, phone=PHONE)
    signed_up = await sign_up_by_phone(server, PHONE)
    await verify(server, signed_up.otp_id, await texted_code(server, PHONE))
    signed_in = (await log_in_by_phone(server, PHONE)).signed_in
    assert signed_in.user.id != ada.id
    assert (await get_me(server, ada.metadata)).phone == ""
    await server.log_in(ada.email)


async def test_only_a_verified_number_identifies(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await set_user(server, ada, phone=PHONE)
    passwords = module_of(server).passwords
    before = passwords.hashes
    await refused(log_in_by_phone(server, PHONE), *BAD_CREDENTIALS)
    assert passwords.hashes == before + 1
    await set_user(server, ada, phone_verified_at=server.clock.now())
    assert (await log_in_by_phone(server, PHONE)).signed_in.user.id == ada.id


async def test_a_number_is_changed_by_its_code(server: Greenroom) -> None:
    ada = await server.person("Ada")
    asked = await change_phone(server, ada, PHONE)
    assert (await get_me(server, ada.metadata)).phone == ""
    reply = await verify(server, asked.otp_id, await texted_code(server, PHONE))
    assert reply.verified_contact.purpose == pb.OTP_PURPOSE_CHANGE_PHONE
    me = await get_me(server, ada.metadata)
    assert me.phone == PHONE and me.HasField("phone_verified_time")
    mail = await mail_number(server, ada.email, 2)
    body = mail.get_body(("plain",))
    assert body is not None and PHONE not in body.get_content() and "567" in body.get_content()
    assert (await log_in_by_phone(server, PHONE)).signed_in.user.id == ada.id
    await refused(change_phone(server, ada, PHONE), *UNCHANGED)
    moved = await change_phone(server, ada, OTHER_PHONE)
    await verify(server, moved.otp_id, await texted_code(server, OTHER_PHONE))
    await refused(log_in_by_phone(server, PHONE), *BAD_CREDENTIALS)
    assert (await audit_rows(server))[-6:] == [
        ("otp.start", "ACCEPTED"),
        ("phone.change", "OK"),
        ("session.log_in", "OK"),
        ("otp.start", "ACCEPTED"),
        ("phone.change", "OK"),
        ("session.log_in", "BAD_CREDENTIALS"),
    ]


async def test_a_number_is_changed_by_a_session_with_a_fresh_factor_only(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    request = pb.ChangePhoneRequest(new_phone=PHONE)
    await refused(server.otps.ChangePhone(request), *MISSING)
    await server.stale(ada)
    await refused(change_phone(server, ada, PHONE), *STEP_UP)
    await refused(
        server.otps.ChangePhone(pb.ChangePhoneRequest(new_phone="0170"), metadata=ada.metadata),
        *STEP_UP,
    )
    fresh = await server.log_in(ada.email)
    await refused(change_phone(server, fresh, "+4917012"), *BAD_PHONE)


async def test_a_proven_number_stays_with_its_owner(server: Greenroom) -> None:
    owner = await settled(server, PHONE)
    ada = await server.person("Ada")
    turn(server, 60)
    asked = await change_phone(server, ada, PHONE)
    code = await texted_code(server, PHONE, 2)
    await refused(verify(server, asked.otp_id, another(code)), *INVALID)
    await refused(verify(server, asked.otp_id, code), *TAKEN)
    await refused(verify(server, asked.otp_id, code), *INVALID)
    assert (await log_in_by_phone(server, PHONE)).signed_in.user.id == owner
    assert (await get_me(server, ada.metadata)).phone == ""


async def test_a_changed_number_voids_what_others_wait_for(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    await set_user(server, bob, phone=PHONE)
    waiting = await sign_up_by_phone(server, PHONE)
    await texted_code(server, PHONE)
    turn(server, 60)
    asked = await change_phone(server, ada, PHONE)
    await verify(server, asked.otp_id, await texted_code(server, PHONE, 2))
    assert (await get_me(server, bob.metadata)).phone == ""
    turn(server, 60)
    again = await start(server, PHONE, VERIFY, waiting.otp_id)
    assert not (await otp_row(server, again.otp_id)).has_target


async def test_many_accounts_allow_for_no_more_tries_at_one_number(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    for number, person in enumerate((ada, bob), start=1):
        asked = await change_phone(server, person, PHONE)
        code = another(await texted_code(server, PHONE, number))
        for _ in range(5):
            await refused(verify(server, asked.otp_id, code), *INVALID)
        turn(server, 60)
    await refused(change_phone(server, await server.person("Cleo"), PHONE), *TOO_MANY)


async def test_of_many_codes_for_one_number_one_makes_an_account(server: Greenroom) -> None:
    signed_up = await sign_up_by_phone(server, PHONE)
    code = await texted_code(server, PHONE)
    calls = [code_of(verify(server, signed_up.otp_id, code)) for _ in range(5)]
    codes = await asyncio.gather(*calls)
    assert codes.count(StatusCode.OK) == 1

    def count(_unit: Unit) -> tuple[int, int]:
        return User.select().count(), Credential.select().count()

    assert await in_unit(server, count) == (1, 1)


async def test_a_purged_account_takes_its_codes_along(server: Greenroom) -> None:
    user_id = await settled(server, PHONE)

    def purge(unit: Unit) -> int:
        before = int(Otp.select().count())
        erase(unit, user_id)
        return before

    turn(server, 60)
    await start(server, PHONE)
    assert await in_unit(server, purge, write=True) == 2
    assert await in_unit(server, lambda _unit: Otp.select().count()) == 0
