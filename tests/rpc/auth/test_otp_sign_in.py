"""StartOtp and VerifyOtp for signing in: by a text, by mail, by a link."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import otp_service_pb2 as pb
from greenroom.auth.v1.user_pb2 import USER_STATUS_ACTIVE
from server.auth.rules import OtpChannel, OtpPurpose
from tests.rpc.auth.otp_scenes import (
    BAD_PHONE,
    INVALID,
    PHONE,
    RECENTLY,
    another,
    bytes_but_ids,
    mailed_code,
    new_phone,
    otp_row,
    settled,
    start,
    texted_code,
    texts_to,
    verify,
)
from tests.rpc.auth.scenes import audit_rows, bearer, get_me, set_user, turn
from tests.rpc.auth.second_factors import code_now, complete, enrolled
from tests.support.serve import Greenroom, Person
from tests.support.statuses import field_names, refused, retry_after_of

LINK = pb.OTP_PURPOSE_MAGIC_LINK


def _time(moment: Any) -> datetime:
    return moment.ToDatetime(tzinfo=UTC)


async def test_a_text_signs_in(server: Greenroom) -> None:
    user_id = await settled(server, PHONE)
    turn(server, 60)
    before = len(await audit_rows(server))
    asked = await start(server, "+49 (0)170 / 123-45.67")
    now = server.clock.now()
    assert _time(asked.expire_time) == now + timedelta(minutes=10)
    assert _time(asked.resend_time) == now + timedelta(minutes=1)
    code = await texted_code(server, PHONE, 2)
    request = pb.VerifyOtpRequest(otp_id=asked.otp_id, code=code, device_name="Ada's phone")
    signed_in = (await server.otps.VerifyOtp(request)).signed_in
    assert signed_in.user.id == user_id and signed_in.session.device_name == "Ada's phone"
    assert list(signed_in.session.sign_in_methods) == ["otp"]
    me = await get_me(server, bearer(signed_in.tokens.access_token))
    assert (me.phone, me.status, me.email) == (PHONE, USER_STATUS_ACTIVE, "")
    assert (await audit_rows(server))[before:] == [
        ("otp.start", "ACCEPTED"),
        ("session.log_in", "OK"),
    ]


async def test_a_row_holds_what_it_should(server: Greenroom) -> None:
    user_id = await settled(server, PHONE)
    turn(server, 60)
    asked = await start(server, PHONE)
    code = await texted_code(server, PHONE, 2)
    row = await otp_row(server, asked.otp_id)
    assert (row.destination, row.channel, row.purpose) == (
        PHONE,
        OtpChannel.SMS,
        OtpPurpose.SIGN_IN,
    )
    assert row.code_hash and code not in row.code_hash and row.verification_sid is None
    assert row.user_id == user_id and row.registration_id is None
    assert row.reference and row.metadata["ip"] == "127.0.0.1"
    assert (row.attempts, row.verified, row.consumed_at) == (0, False, None)
    await refused(verify(server, asked.otp_id, another(code)), *INVALID)
    await verify(server, asked.otp_id, code)
    row = await otp_row(server, asked.otp_id)
    assert (row.attempts, row.verified, row.consumed_at) == (2, True, server.clock.now())


async def test_a_mailed_code_signs_in(server: Greenroom) -> None:
    ada = await server.person("Ada")
    mails = len(server.mails(ada.email))
    asked = await start(server, ada.email.upper())
    code = await mailed_code(server, ada.email, mails + 1)
    reply = await verify(server, asked.otp_id, code)
    assert reply.signed_in.user.id == ada.id
    await refused(verify(server, asked.otp_id, code), *INVALID)


async def test_a_link_signs_in_once(server: Greenroom) -> None:
    ada = await server.person("Ada")
    mails = len(server.mails(ada.email))
    asked = await start(server, ada.email, LINK)
    token = await server.mailed_token(ada.email, mails + 1)
    assert token.startswith("grl_")
    row = await otp_row(server, asked.otp_id)
    assert row.code_hash and token not in row.code_hash
    body = server.mails(ada.email)[-1].get_body(("plain",))
    assert body is not None and f"/sign-in#token={token}" in body.get_content()
    await refused(verify(server, asked.otp_id, "123456"), *INVALID)
    request = pb.VerifyOtpRequest(token=token)
    reply = await server.otps.VerifyOtp(request)
    assert reply.signed_in.user.id == ada.id
    assert list(reply.signed_in.session.sign_in_methods) == ["magic_link"]
    await refused(server.otps.VerifyOtp(request), *INVALID)
    await refused(server.otps.VerifyOtp(pb.VerifyOtpRequest(token="grl_nothing")), *INVALID)


async def test_a_link_is_good_for_ten_minutes_and_until_the_next_code(server: Greenroom) -> None:
    ada = await server.person("Ada")
    mails = len(server.mails(ada.email))
    await start(server, ada.email, LINK)
    first = await server.mailed_token(ada.email, mails + 1)
    turn(server, 60)
    await start(server, ada.email, LINK)
    second = await server.mailed_token(ada.email, mails + 2)
    await refused(server.otps.VerifyOtp(pb.VerifyOtpRequest(token=first)), *INVALID)
    turn(server, 600)
    await refused(server.otps.VerifyOtp(pb.VerifyOtpRequest(token=second)), *INVALID)


async def test_a_code_is_good_for_ten_minutes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    mails = len(server.mails(ada.email))
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, mails + 1)
    turn(server, 600)
    await refused(verify(server, asked.otp_id, code), *INVALID)
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, mails + 2)
    turn(server, 599)
    await verify(server, asked.otp_id, code)


async def test_a_code_belongs_to_its_request_and_a_new_one_makes_it_void(
    server: Greenroom,
) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    first = await start(server, ada.email)
    code = await mailed_code(server, ada.email, 2)
    others = await start(server, bob.email)
    await refused(verify(server, others.otp_id, code), *INVALID)
    turn(server, 60)
    second = await start(server, ada.email)
    newer = await mailed_code(server, ada.email, 3)
    await refused(verify(server, first.otp_id, code), *INVALID)
    await refused(verify(server, first.otp_id, newer), *INVALID)
    if newer != code:
        await refused(verify(server, second.otp_id, code), *INVALID)
    await verify(server, second.otp_id, newer)
    await refused(verify(server, str(uuid.uuid4()), newer), *INVALID)


async def test_a_destination_that_nobody_has_gets_the_same_answers(server: Greenroom) -> None:
    await settled(server, PHONE)
    ada = await server.person("Ada")
    turn(server, 3600)
    mails, texts = len(server.mails()), len(texts_to(server, PHONE))
    for known, unknown, purpose in (
        (PHONE, new_phone(), pb.OTP_PURPOSE_SIGN_IN),
        (ada.email, "nobody@example.com", pb.OTP_PURPOSE_SIGN_IN),
        ("nobody2@example.com", ada.email, LINK),
    ):
        turn(server, 60)
        answers, refusals = set(), set()
        for to in (known, unknown):
            asked = await start(server, to, purpose)
            answers.add(bytes_but_ids(asked, to))
            error = await refused(start(server, to, purpose), *RECENTLY)
            refusals.add((error.details(), retry_after_of(error)))
            if purpose == pb.OTP_PURPOSE_SIGN_IN:
                error = await refused(verify(server, asked.otp_id, "000000"), *INVALID)
                refusals.add((error.details(), None))
        assert len(answers) == 1 and len(refusals) == (1 if purpose == LINK else 2)
    await server.mailed_token(ada.email, 3)
    assert len(server.mails()) == mails + 2 and len(texts_to(server, PHONE)) == texts + 1
    assert not texts_to(server, unknown)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "BANNED"},
        {"status": "PENDING"},
        {"email_verified_at": None},
        {"email": "moved@example.com"},
    ],
)
async def test_an_account_that_may_not_gets_no_session(
    server: Greenroom, change: dict[str, object]
) -> None:
    ada = await server.person("Ada")
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, 2)
    await set_user(server, ada, **change)
    await refused(verify(server, asked.otp_id, code), *INVALID)
    turn(server, 60)
    again = await start(server, ada.email)
    assert not (await otp_row(server, again.otp_id)).has_target


async def test_a_second_factor_is_asked_for(server: Greenroom) -> None:
    who = await enrolled(server)
    asked = await start(server, who.person.email)
    code = await mailed_code(server, who.person.email, 3)
    reply = await verify(server, asked.otp_id, code)
    assert reply.WhichOneof("outcome") == "mfa_challenge"
    signed_in = await complete(
        server, reply.mfa_challenge.challenge_token, totp=code_now(server, who.secret)
    )
    assert list(signed_in.session.sign_in_methods) == ["otp", "totp"]


async def test_a_repeat_gets_the_first_reply(server: Greenroom) -> None:
    ada = await server.person("Ada")
    request = pb.StartOtpRequest(
        purpose=pb.OTP_PURPOSE_SIGN_IN, email=ada.email, request_id=str(uuid.uuid4())
    )
    first = await server.otps.StartOtp(request)
    assert await server.otps.StartOtp(request) == first
    await mailed_code(server, ada.email, 2)
    assert len(server.mails(ada.email)) == 2


async def test_a_language_is_kept_to(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await set_user(server, ada, language="de-AT")
    await start(server, ada.email, LINK)
    await server.mailed_token(ada.email, 2)
    assert server.mails(ada.email)[-1]["Subject"] == "Ihr Link zum Anmelden"


BAD_REQUESTS = [
    ({}, "purpose"),
    ({"purpose": 1}, "destination"),
    ({"purpose": 3, "phone": PHONE}, "purpose"),
    ({"purpose": 9, "phone": PHONE}, "purpose"),
    ({"purpose": 1, "phone": "0170 1234567"}, "phone"),
    ({"purpose": 1, "email": "nobody"}, "email"),
    ({"purpose": 2, "email": "a@example.com"}, ""),
    ({"purpose": 4, "phone": PHONE}, ""),
    ({"purpose": 1, "phone": PHONE, "otp_id": str(uuid.uuid4())}, ""),
    ({"purpose": 2, "phone": PHONE, "otp_id": "x"}, "otp_id"),
]


async def test_what_is_no_request_is_refused(server: Greenroom) -> None:
    wrong = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")
    for values, field in BAD_REQUESTS:
        call = server.otps.StartOtp(pb.StartOtpRequest(**values))
        error = await refused(call, *wrong)
        assert not field or field in " ".join(field_names(error)), values
    for values in (
        {"code": "123456"},
        {"token": "x", "otp_id": str(uuid.uuid4())},
        {"otp_id": str(uuid.uuid4())},
        {"code": "12345", "otp_id": str(uuid.uuid4())},
        {"code": "12345a", "otp_id": str(uuid.uuid4())},
    ):
        await refused(server.otps.VerifyOtp(pb.VerifyOtpRequest(**values)), *wrong)
    for phone in ("+4917012", "+447700900123", "+491234567890123", "+4990012345678"):
        error = await refused(start(server, phone), *BAD_PHONE)
        assert field_names(error) == ["phone"]


async def test_a_person_who_signs_in_by_code_is_trusted_for_some_minutes(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    asked = await start(server, ada.email)
    reply = await verify(server, asked.otp_id, await mailed_code(server, ada.email, 2))
    signed_in = reply.signed_in
    again = Person(ada.id, ada.email, signed_in, bearer(signed_in.tokens.access_token))
    request = pb.ChangePhoneRequest(new_phone=new_phone())
    await server.otps.ChangePhone(request, metadata=again.metadata)
