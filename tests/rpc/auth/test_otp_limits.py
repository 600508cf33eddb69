"""How many codes leave, how many are compared, and how often one is accepted: whatever is done in
parallel, and whatever the codes and destinations."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import otp_service_pb2 as pb
from server.auth.models import Otp, OtpTries, Session
from server.auth.usecases import cleanup
from server.auth.wiring import lifetimes_of
from server.core.unit import Unit
from tests.rpc.auth.otp_scenes import (
    INVALID,
    PHONE,
    RECENTLY,
    TOO_MANY,
    another,
    change_phone,
    mailed_code,
    new_phone,
    otp_row,
    settled,
    sign_up_by_phone,
    start,
    texted_code,
    verify,
)
from tests.rpc.auth.scenes import in_unit, module_of, turn
from tests.support.serve import Greenroom
from tests.support.statuses import code_of, refused, retry_after_of

CALLERS = 64
WRONG_TRIES = int(os.environ.get("OTP_WRONG_TRIES", "60"))
PATIENT = {"database_wait_seconds": 60, "database_pool_size": 16}


async def _waits(server: Greenroom, to: str) -> float | None:
    return retry_after_of(await refused(start(server, to), *RECENTLY))


async def test_one_code_a_minute_and_five_an_hour_leave(server: Greenroom) -> None:
    for to in (PHONE, "nobody@example.com"):
        for sent in range(1, 6):
            await start(server, to)
            assert await _waits(server, to) == (60 if sent < 5 else 3360)
            turn(server, 60)
        assert await _waits(server, to) == 3300
        turn(server, 3299)
        assert await _waits(server, to) == 1
        turn(server, 1)
        await start(server, to)


async def test_spellings_of_a_destination_are_one(server: Greenroom) -> None:
    await start(server, PHONE)
    await refused(start(server, "+49 (0)170 123-4567"), *RECENTLY)
    await refused(sign_up_by_phone(server, PHONE), *RECENTLY)
    ada = await server.person("Ada")
    await refused(change_phone(server, ada, PHONE), *RECENTLY)
    await start(server, "nobody@example.com")
    await refused(start(server, "NoBody@Example.com"), *RECENTLY)
    await refused(start(server, "nobody@example.com", pb.OTP_PURPOSE_MAGIC_LINK), *RECENTLY)


async def test_thirty_codes_an_hour_leave_for_one_network(server: Greenroom) -> None:
    for _ in range(30):
        await start(server, new_phone())
    assert retry_after_of(await refused(start(server, new_phone()), *RECENTLY)) == 3600
    turn(server, 3600)
    await start(server, new_phone())


async def _start_from(server: Greenroom, phone: str, network: int) -> object:
    request = pb.StartOtpRequest(purpose=pb.OTP_PURPOSE_SIGN_IN, phone=phone)
    header = (("x-forwarded-for", f"203.0.113.{network}"),)
    return await server.otps.StartOtp(request, metadata=header)


async def test_fifteen_codes_a_day_leave_for_a_destination(server: Greenroom) -> None:
    """Five an hour all day long would be a way to pester somebody."""
    for to in (PHONE, "nobody@example.com"):
        for _ in range(15):
            await start(server, to)
            turn(server, 720)
        assert await _waits(server, to) == 86_400 - 15 * 720
        turn(server, 86_399 - 15 * 720)
        assert await _waits(server, to) == 1
        turn(server, 1)
        await start(server, to)


async def test_numbers_in_series_get_sixty_codes_an_hour_from_all_networks(
    server: Greenroom,
) -> None:
    """Whoever rents numbers that pay for each text rents them by the block, and dials from
    everywhere."""
    for number in range(60):
        await _start_from(server, f"+49170330{number:04}", network=number // 20)
    error = await refused(_start_from(server, "+491703309999", network=9), *RECENTLY)
    assert retry_after_of(error) == 3600
    await _start_from(server, "+491703310000", network=9)
    await start(server, "nobody@example.com")
    turn(server, 3600)
    await _start_from(server, "+491703309999", network=9)


async def test_parallel_requests_send_one_code(serve: Callable[..., Any]) -> None:
    server = await serve(**PATIENT)
    ada = await server.person("Ada")
    codes = await asyncio.gather(*(code_of(start(server, ada.email)) for _ in range(16)))
    assert codes.count(StatusCode.OK) == 1
    await mailed_code(server, ada.email, 2)
    assert len(server.mails(ada.email)) == 2


async def test_a_code_takes_five_tries(server: Greenroom) -> None:
    ada = await server.person("Ada")
    checker = module_of(server).codes
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, 2)
    for _ in range(5):
        await refused(verify(server, asked.otp_id, another(code)), *INVALID)
    await refused(verify(server, asked.otp_id, code), *INVALID)
    assert checker.compared == 5


async def test_a_new_code_does_not_clear_the_count(server: Greenroom) -> None:
    ada = await server.person("Ada")
    checker = module_of(server).codes
    for number in range(2):
        turn(server, 60)
        asked = await start(server, ada.email)
        code = await mailed_code(server, ada.email, 2 + number)
        for _ in range(5):
            await refused(verify(server, asked.otp_id, another(code)), *INVALID)
    turn(server, 60)
    assert retry_after_of(await refused(start(server, ada.email), *TOO_MANY)) == 840
    turn(server, 840)
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, 4)
    await refused(verify(server, asked.otp_id, another(code)), *INVALID)
    assert retry_after_of(await refused(verify(server, asked.otp_id, code), *TOO_MANY)) == 1800
    assert checker.compared == 11


async def test_a_right_code_clears_the_count(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for number in range(3):
        asked = await start(server, ada.email)
        code = await mailed_code(server, ada.email, 2 + number)
        for _ in range(4):
            await refused(verify(server, asked.otp_id, another(code)), *INVALID)
        await verify(server, asked.otp_id, code)
        turn(server, 60)


async def test_a_destination_that_nobody_has_waits_as_well(server: Greenroom) -> None:
    for _ in range(2):
        asked = await start(server, PHONE)
        for _ in range(5):
            await refused(verify(server, asked.otp_id, "000000"), *INVALID)
        await refused(verify(server, asked.otp_id, "000000"), *INVALID)
        turn(server, 60)
    assert retry_after_of(await refused(start(server, PHONE), *TOO_MANY)) == 840


async def test_channels_of_an_account_count_as_one(server: Greenroom) -> None:
    ada = await server.person("Ada")
    asked = await change_phone(server, ada, PHONE)
    await verify(server, asked.otp_id, await texted_code(server, PHONE))
    turn(server, 60)
    for to in (PHONE, ada.email):
        asked = await start(server, to)
        code = (
            await texted_code(server, PHONE, 2) if to == PHONE else await mailed_code(server, to, 3)
        )
        for _ in range(5):
            await refused(verify(server, asked.otp_id, another(code)), *INVALID)
    turn(server, 60)
    await refused(start(server, PHONE), *TOO_MANY)
    await refused(start(server, ada.email), *TOO_MANY)


async def test_of_64_callers_with_one_code_one_gets_in(serve: Callable[..., Any]) -> None:
    server = await serve(**PATIENT)
    ada = await server.person("Ada")
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, 2)
    calls = [code_of(verify(server, asked.otp_id, code)) for _ in range(CALLERS)]
    codes = await asyncio.gather(*calls)
    assert codes.count(StatusCode.OK) == 1
    assert codes.count(StatusCode.INVALID_ARGUMENT) == CALLERS - 1

    def opened(_unit: Unit) -> int:
        return int(Session.select().count())

    assert await in_unit(server, opened) == 2


async def test_of_64_callers_one_gets_in_even_if_all_may_try(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the count of tries, which lets five through only and hides what happens among many."""
    monkeypatch.setattr("server.auth.usecases.otp_checks.OTP_TRIES", 10**9)
    monkeypatch.setattr("server.auth.usecases.otp_checks.count_wrong", lambda unit, subjects: 0.0)
    server = await serve(**PATIENT)
    ada = await server.person("Ada")
    asked = await start(server, ada.email)
    code = await mailed_code(server, ada.email, 2)
    calls = [code_of(verify(server, asked.otp_id, code)) for _ in range(CALLERS)]
    codes = await asyncio.gather(*calls)
    assert codes.count(StatusCode.OK) == 1


async def test_of_64_callers_with_one_link_one_gets_in(serve: Callable[..., Any]) -> None:
    server = await serve(**PATIENT)
    ada = await server.person("Ada")
    await start(server, ada.email, pb.OTP_PURPOSE_MAGIC_LINK)
    request = pb.VerifyOtpRequest(token=await server.mailed_token(ada.email, 2))
    codes = await asyncio.gather(*(code_of(server.otps.VerifyOtp(request)) for _ in range(CALLERS)))
    assert codes.count(StatusCode.OK) == 1


@pytest.mark.timeout(600)
async def test_of_many_parallel_wrong_tries_few_are_compared(serve: Callable[..., Any]) -> None:
    server = await serve(**PATIENT)
    await settled(server, PHONE)
    checker = module_of(server).codes
    before = checker.compared
    for number, pause, most in ((2, 60, 5), (3, 60, 10), (4, 900, 11)):
        turn(server, pause)
        asked = await start(server, PHONE)
        code = another(await texted_code(server, PHONE, number))
        calls = [code_of(verify(server, asked.otp_id, code)) for _ in range(WRONG_TRIES)]
        assert StatusCode.OK not in await asyncio.gather(*calls)
        assert checker.compared - before == most
        assert (await otp_row(server, asked.otp_id)).attempts == most - (number - 2) * 5
    await refused(start(server, PHONE), *TOO_MANY)
    await refused(sign_up_by_phone(server, PHONE), *TOO_MANY)


async def test_what_has_served_its_time_is_deleted(server: Greenroom) -> None:
    await settled(server, PHONE)
    turn(server, 60)
    asked = await start(server, PHONE)
    await refused(verify(server, asked.otp_id, "000000"), *INVALID)

    async def clean() -> tuple[int, int]:
        for step in cleanup.steps(lifetimes_of(server.settings).grace):
            while await in_unit(server, step, write=True) >= cleanup.BATCH:
                pass
        return await in_unit(
            server, lambda _unit: (Otp.select().count(), OtpTries.select().count())
        )

    assert await clean() == (2, 2)
    turn(server, 86_401)
    assert await clean() == (0, 2)
    turn(server, 86_400)
    assert await clean() == (0, 0)
