"""One-time codes that Twilio Verify makes, texts and checks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import otp_service_pb2 as pb
from server.core.jobs import JobRunner
from tests.rpc.auth.otp_scenes import (
    DOWN,
    INVALID,
    OTHER_PHONE,
    PHONE,
    another,
    bytes_but_ids,
    change_phone,
    log_in_by_phone,
    mailed_code,
    new_phone,
    otp_row,
    sign_up_by_phone,
    start,
    texts_to,
    until,
    verify,
)
from tests.rpc.auth.scenes import module_of, turn
from tests.support.fake_twilio import FakeTwilio, error
from tests.support.serve import Greenroom
from tests.support.statuses import code_of, refused, retry_after_of

NOT_CONFIGURED = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_PHONE_NOT_CONFIGURED")


@pytest.fixture
def twilio() -> Iterator[FakeTwilio]:
    with FakeTwilio() as fake:
        yield fake


@pytest.fixture
async def server(serve: Callable[..., Any], twilio: FakeTwilio) -> AsyncIterator[Greenroom]:
    """A server that has its texts sent by the fake, and lives by the same clock."""
    running: Greenroom = await serve(
        **twilio.settings, twilio_timeout_seconds="0.5", database_wait_seconds=60
    )
    twilio.now = running.clock.now
    yield running
    twilio.released.set()


async def _settled(server: Greenroom, twilio: FakeTwilio) -> str:
    """Somebody with a proven number; the id of the account."""
    signed_up = await sign_up_by_phone(server, PHONE)
    await _noted(server, signed_up.otp_id)
    await verify(server, signed_up.otp_id, twilio.text(PHONE))
    turn(server, 60)
    return (await log_in_by_phone(server, PHONE)).signed_in.user.id


async def _noted(server: Greenroom, otp_id: str) -> str:
    """By what the provider knows a code, once that is noted."""
    for _ in range(1000):
        sid = (await otp_row(server, otp_id)).verification_sid
        if sid:
            return str(sid)
        await asyncio.sleep(0.01)
    raise AssertionError("never noted")


async def test_twilio_texts_and_checks(server: Greenroom, twilio: FakeTwilio) -> None:
    signed_up = await sign_up_by_phone(server, PHONE)
    code = await asyncio.to_thread(twilio.text, PHONE)
    sid = await _noted(server, signed_up.otp_id)
    row = await otp_row(server, signed_up.otp_id)
    assert row.code_hash is None and twilio.verifications[0].sid == sid
    await refused(verify(server, signed_up.otp_id, another(code)), *INVALID)
    await verify(server, signed_up.otp_id, code)
    await log_in_by_phone(server, PHONE)
    assert not texts_to(server, PHONE)
    checks = [asked.form for asked in twilio.asked if asked.path.endswith("Check")]
    assert checks[-1] == {"VerificationSid": sid, "Code": code}
    assert twilio.verifications[0].status == "approved"


async def test_mailed_codes_are_our_own(server: Greenroom, twilio: FakeTwilio) -> None:
    ada = await server.person("Ada")
    asked = await start(server, ada.email)
    await verify(server, asked.otp_id, await mailed_code(server, ada.email, 2))
    assert not twilio.asked


async def test_a_new_code_replaces_the_one_at_twilio(server: Greenroom, twilio: FakeTwilio) -> None:
    await _settled(server, twilio)
    first = await start(server, PHONE)
    await _noted(server, first.otp_id)
    old = await asyncio.to_thread(twilio.text, PHONE, 2)
    turn(server, 60)
    second = await start(server, PHONE)
    await _noted(server, second.otp_id)
    new = await asyncio.to_thread(twilio.text, PHONE, 3)
    assert [item.status for item in twilio.verifications] == ["approved", "canceled", "pending"]
    await refused(verify(server, first.otp_id, old), *INVALID)
    if old != new:
        await refused(verify(server, second.otp_id, old), *INVALID)
    assert (await verify(server, second.otp_id, new)).HasField("signed_in")


async def test_codes_are_not_taken_for_another_purpose(
    server: Greenroom, twilio: FakeTwilio
) -> None:
    await _settled(server, twilio)
    ada = await server.person("Ada")
    signing_in = await start(server, PHONE)
    await _noted(server, signing_in.otp_id)
    turn(server, 60)
    changing = await change_phone(server, ada, PHONE)
    await _noted(server, changing.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 3)
    await refused(verify(server, signing_in.otp_id, code), *INVALID)


async def test_a_number_that_nobody_has_is_asked_about_but_never_texted(
    server: Greenroom, twilio: FakeTwilio
) -> None:
    await _settled(server, twilio)
    unknown = new_phone()
    known_otp, unknown_otp = await start(server, PHONE), await start(server, unknown)
    assert bytes_but_ids(known_otp) == bytes_but_ids(unknown_otp)
    await _noted(server, known_otp.otp_id)
    counts = []
    for asked in (known_otp, unknown_otp):
        before = len(twilio.asked)
        code = another(await asyncio.to_thread(twilio.text, PHONE, 2))
        await refused(verify(server, asked.otp_id, code), *INVALID)
        counts.append(len(twilio.asked) - before)
    assert counts == [1, 1] and not twilio.texts(unknown)
    sids = [asked.form.get("VerificationSid", "") for asked in twilio.asked[-2:]]
    assert sids[0] == twilio.verifications[-1].sid != sids[1] and len(sids[1]) == 34


async def test_twilios_own_bounds_end_in_our_answer(server: Greenroom, twilio: FakeTwilio) -> None:
    await _settled(server, twilio)
    asked = await start(server, PHONE)
    await _noted(server, asked.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 2)
    twilio.verifications[-1].checks = 5
    await refused(verify(server, asked.otp_id, code), *INVALID)
    turn(server, 60)
    asked = await start(server, PHONE)
    await _noted(server, asked.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 3)
    twilio.verifications[-1].status = "expired"
    await refused(verify(server, asked.otp_id, code), *INVALID)


@pytest.mark.parametrize("fault", ["hang", 500, 503, 429, 401])
async def test_a_check_without_an_answer_is_unavailable_and_uses_nothing_up(
    server: Greenroom, twilio: FakeTwilio, fault: str | int
) -> None:
    await _settled(server, twilio)
    asked = await start(server, PHONE)
    await _noted(server, asked.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 2)
    numbers = {429: 20429, 401: 20003}
    if isinstance(fault, int):
        answer = error(fault, numbers.get(fault, 20500), "Something went wrong")
        twilio.fault = lambda _asked: answer
    else:
        twilio.fault = twilio.hang
    failure = await refused(verify(server, asked.otp_id, code), *DOWN)
    assert retry_after_of(failure) == 30
    row = await otp_row(server, asked.otp_id)
    assert (row.attempts, row.verified, row.consumed_at) == (1, False, None)
    # While it is down nobody is sent there, whatever the number.
    turn(server, 29)
    for phone in (PHONE, OTHER_PHONE):
        await refused(start(server, phone), *DOWN)
    await refused(sign_up_by_phone(server, OTHER_PHONE), *DOWN)
    await refused(change_phone(server, await server.person("Ada"), OTHER_PHONE), *DOWN)
    twilio.fault = lambda _asked: None
    assert (await verify(server, asked.otp_id, code)).HasField("signed_in")
    await start(server, OTHER_PHONE)


async def test_twilios_codes_end_after_ten_minutes_here_too(
    server: Greenroom, twilio: FakeTwilio
) -> None:
    """As in WSO2's CVE-2024-8122: how long a code is good does not hang on somebody else's clock."""
    await _settled(server, twilio)
    asked = await start(server, PHONE)
    await _noted(server, asked.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 2)
    checker = module_of(server).codes
    before = checker.compared
    turn(server, 600)
    await refused(verify(server, asked.otp_id, code), *INVALID)
    assert checker.compared == before


async def test_a_text_that_cannot_leave_is_tried_again(
    server: Greenroom, twilio: FakeTwilio
) -> None:
    await _settled(server, twilio)
    failure = error(503, 20503, "Service unavailable")
    twilio.fault = lambda _asked: failure
    before = len(twilio.asked)
    asked = await start(server, PHONE)
    await until(lambda: len(twilio.asked) > before, "never asked")
    assert (await otp_row(server, asked.otp_id)).verification_sid is None
    twilio.fault = lambda _asked: None
    parts = server.running.parts
    runner = JobRunner(parts.database, parts.jobs, parts.clock)
    for _ in range(100):
        turn(server, 3)
        await asyncio.to_thread(runner.run_pending)
        if len(twilio.texts(PHONE)) > 1:
            break
    await _noted(server, asked.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 2)
    assert (await verify(server, asked.otp_id, code)).HasField("signed_in")


async def test_a_number_that_twilio_refuses_is_noted_and_not_tried_again(
    server: Greenroom, twilio: FakeTwilio
) -> None:
    refusal = error(403, 60410, "Verification delivery attempt blocked")
    twilio.fault = lambda asked: refusal if asked.path.endswith("/Verifications") else None
    signed_up = await sign_up_by_phone(server, PHONE)
    for _ in range(1000):
        row = await otp_row(server, signed_up.otp_id)
        if "refused" in row.metadata:
            break
        await asyncio.sleep(0.01)
    assert row.metadata["refused"] == "Twilio's code 60410" and row.verification_sid is None
    await refused(verify(server, signed_up.otp_id, "123456"), *INVALID)
    twilio.fault = lambda _asked: None
    turn(server, 60)
    asked = await start(server, PHONE, pb.OTP_PURPOSE_VERIFY_PHONE, signed_up.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE)
    await _noted(server, asked.otp_id)
    await verify(server, asked.otp_id, code)


async def test_of_64_callers_with_twilios_code_one_gets_in(
    server: Greenroom, twilio: FakeTwilio
) -> None:
    await _settled(server, twilio)
    asked = await start(server, PHONE)
    await _noted(server, asked.otp_id)
    code = await asyncio.to_thread(twilio.text, PHONE, 2)
    checker = module_of(server).codes
    before = checker.compared
    codes = await asyncio.gather(*(code_of(verify(server, asked.otp_id, code)) for _ in range(64)))
    assert codes.count(StatusCode.OK) == 1 and checker.compared - before <= 5


async def test_a_server_without_texts_says_so(serve: Callable[..., Any]) -> None:
    server = await serve()
    servicer = next(
        service.servicer
        for service in module_of(server).services
        if service.descriptor.name == "OtpService"
    )
    # As production without settings for Twilio, which cannot be started here.
    object.__setattr__(servicer._courier, "sms", None)
    await refused(start(server, PHONE), *NOT_CONFIGURED)
    await refused(sign_up_by_phone(server, PHONE), *NOT_CONFIGURED)
    ada = await server.person("Ada")
    await refused(change_phone(server, ada, PHONE), *NOT_CONFIGURED)
    await start(server, ada.email)
