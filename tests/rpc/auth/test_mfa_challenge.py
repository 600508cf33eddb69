"""CompleteMfaChallenge: what a code and a challenge are worth, and how often one may guess."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_service_pb2 as pb
from greenroom.auth.v1.sign_in_pb2 import MFA_METHOD_TOTP
from server.auth.models import MfaChallenge, MfaFactor, Session
from server.auth.rules import RevokeReason
from server.auth.usecases import cleanup, mfa_challenges
from server.auth.usecases.sessions import end_all_sessions
from server.auth.wiring import lifetimes_of
from server.core.unit import Unit
from tests.rpc.auth.scenes import audit_rows, in_unit, mail_number, set_user, turn
from tests.rpc.auth.second_factors import (
    STEP,
    WRONG_BACKUP_CODE,
    Enrolled,
    challenge_of,
    code_now,
    complete,
    enrolled,
    wrong_code,
)
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import code_of, failure_of, reason_of, refused, retry_after_of

CODE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_MFA_CODE_INVALID")
CHALLENGE_INVALID = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_MFA_CHALLENGE_INVALID")
TOO_MANY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS")


async def _token(server: Greenroom, who: Enrolled) -> str:
    return (await challenge_of(server, who)).challenge_token


async def test_this_half_minute_and_the_one_before_are_accepted(server: Greenroom) -> None:
    who = await enrolled(server)
    turn(server, 2 * STEP)
    for steps, accepted in ((-2, False), (1, False), (2, False), (-1, True), (0, True)):
        token = await _token(server, who)
        call = complete(server, token, totp=code_now(server, who.secret, steps))
        if accepted:
            await call
        else:
            await refused(call, *CODE_INVALID)


async def test_a_step_is_good_once_and_none_before_it_any_more(server: Greenroom) -> None:
    who = await enrolled(server)
    older, newer = code_now(server, who.secret), code_now(server, who.secret, steps=1)
    turn(server, STEP)
    await complete(server, await _token(server, who), totp=newer)
    for code in (newer, older):
        await refused(complete(server, await _token(server, who), totp=code), *CODE_INVALID)
    turn(server, STEP)
    await refused(complete(server, await _token(server, who), totp=newer), *CODE_INVALID)
    await complete(server, await _token(server, who), totp=code_now(server, who.secret))


async def test_the_code_that_activated_a_factor_opens_nothing(server: Greenroom) -> None:
    who = await enrolled(server)
    used = code_now(server, who.secret, steps=-1)
    await refused(complete(server, await _token(server, who), totp=used), *CODE_INVALID)


async def test_a_backup_code_is_good_once_however_it_is_typed(server: Greenroom) -> None:
    who = await enrolled(server)
    first, second = who.backup_codes[:2]
    await complete(server, await _token(server, who), backup=first)
    await refused(complete(server, await _token(server, who), backup=first), *CODE_INVALID)
    typed = " " + second.lower().replace("-", " ").replace("0", "o").replace("1", "l") + " "
    signed_in = await complete(server, await _token(server, who), backup=typed)

    def read(_unit: Unit) -> Session:
        return Session.get_by_id(signed_in.session.id)

    session = await in_unit(server, read)
    assert session.auth_methods == ["password", "backup_code"] and session.assurance_level == 2
    body = (await mail_number(server, who.person.email, 3)).get_body(("plain",))
    assert body is not None and "have left: 9" in body.get_content()


async def test_without_backup_codes_none_are_offered(server: Greenroom) -> None:
    who = await enrolled(server)
    for code in who.backup_codes:
        await complete(server, await _token(server, who), backup=code)
    assert list((await challenge_of(server, who)).methods) == [MFA_METHOD_TOTP]


async def test_a_code_of_somebody_else_opens_nothing(server: Greenroom) -> None:
    ada, eve = await enrolled(server, "Ada"), await enrolled(server, "Eve")
    token = await _token(server, ada)
    await refused(complete(server, token, totp=code_now(server, eve.secret)), *CODE_INVALID)
    await refused(complete(server, token, backup=eve.backup_codes[0]), *CODE_INVALID)


async def test_a_challenge_opens_one_session(server: Greenroom) -> None:
    who = await enrolled(server)
    token = await _token(server, who)
    await complete(server, token, totp=code_now(server, who.secret))
    turn(server, STEP)
    again = complete(server, token, totp=code_now(server, who.secret))
    await refused(again, *CHALLENGE_INVALID)
    await refused(complete(server, token, backup=who.backup_codes[0]), *CHALLENGE_INVALID)


async def test_a_challenge_ends_after_ten_minutes(server: Greenroom) -> None:
    who = await enrolled(server)
    tokens = [await _token(server, who) for _ in range(2)]
    turn(server, 599)
    await complete(server, tokens[0], totp=code_now(server, who.secret))
    turn(server, 1)
    gone = complete(server, tokens[1], backup=who.backup_codes[0])
    told = await refused(gone, *CHALLENGE_INVALID)
    unknown = await refused(complete(server, "grm_unknown", totp="123456"), *CHALLENGE_INVALID)
    assert told.details() == unknown.details()


async def test_a_challenge_takes_ten_tries(server: Greenroom) -> None:
    who = await enrolled(server)
    token = await _token(server, who)
    for _ in range(5):
        code = wrong_code(server, who.secret)
        await refused(complete(server, token, totp=code), *CODE_INVALID)
        await refused(complete(server, token, backup=WRONG_BACKUP_CODE), *CODE_INVALID)
    turn(server, 60)
    gone = complete(server, token, totp=code_now(server, who.secret))
    await refused(gone, *CHALLENGE_INVALID)
    await complete(server, await _token(server, who), totp=code_now(server, who.secret))


@pytest.mark.parametrize("how", ["suspended", "sessions ended"])
async def test_what_ends_sessions_ends_a_challenge(server: Greenroom, how: str) -> None:
    who = await enrolled(server)
    token = await _token(server, who)
    if how == "suspended":
        await set_user(server, who.person, status="SUSPENDED")
    else:
        await in_unit(
            server,
            lambda unit: end_all_sessions(unit, who.person.id, RevokeReason.PASSWORD_CHANGE),
            write=True,
        )
    gone = complete(server, token, totp=code_now(server, who.secret))
    await refused(gone, *CHALLENGE_INVALID)


@pytest.mark.parametrize("moment", ["locked_user", "complete_challenge"])
async def test_a_challenge_that_ends_while_it_is_completed_is_refused(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another process signs the user out everywhere, before the user is locked or before the code is
    looked at."""
    who = await enrolled(server)
    token = await _token(server, who)
    original = getattr(mfa_challenges, moment)

    def overtaken(*arguments: Any, **more: Any) -> Any:
        MfaChallenge.delete().execute()
        return original(*arguments, **more)

    monkeypatch.setattr(mfa_challenges, moment, overtaken)
    await refused(complete(server, token, totp=code_now(server, who.secret)), *CHALLENGE_INVALID)


async def test_a_right_password_and_a_new_challenge_clear_no_count(server: Greenroom) -> None:
    who = await enrolled(server)
    for _ in range(5):
        token = await _token(server, who)
        code = wrong_code(server, who.secret)
        await refused(complete(server, token, totp=code), *CODE_INVALID)
    token = await _token(server, who)
    error = await refused(complete(server, token, totp=code_now(server, who.secret)), *TOO_MANY)
    assert retry_after_of(error) == 60
    # The other kind of code has a count of its own, and its success clears no other.
    await complete(server, token, backup=who.backup_codes[0])
    blocked = complete(server, await _token(server, who), totp=code_now(server, who.secret))
    await refused(blocked, *TOO_MANY)
    turn(server, 60)
    await complete(server, await _token(server, who), totp=code_now(server, who.secret))
    turn(server, STEP)
    # A right code of the same kind does.
    for _ in range(4):
        code = wrong_code(server, who.secret)
        await refused(complete(server, await _token(server, who), totp=code), *CODE_INVALID)
    await complete(server, await _token(server, who), totp=code_now(server, who.secret))


async def test_waits_grow_to_an_hour_and_no_lock_stays(server: Greenroom) -> None:
    who = await enrolled(server)
    waits = []
    for number in range(13):
        token = await _token(server, who)
        if number >= 5:
            error = await refused(complete(server, token, totp="123456"), *TOO_MANY)
            waits.append(retry_after_of(error))
            turn(server, waits[-1])
            token = await _token(server, who)
        code = wrong_code(server, who.secret)
        await refused(complete(server, token, totp=code), *CODE_INVALID)
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    turn(server, 3600)
    await complete(server, await _token(server, who), totp=code_now(server, who.secret))


async def test_the_user_is_told_when_waits_begin(server: Greenroom) -> None:
    who = await enrolled(server)
    token = await _token(server, who)
    for _ in range(5):
        code = wrong_code(server, who.secret)
        await refused(complete(server, token, totp=code), *CODE_INVALID)
    await refused(complete(server, token, totp="123456"), *TOO_MANY)
    mail = await mail_number(server, who.person.email, 3)
    assert mail["subject"] == "Somebody fails at your second factor"
    rows = [row for row in await audit_rows(server) if row[0].startswith("mfa.")]
    assert rows[2:] == [
        *[("mfa.challenge", "BAD_CODE")] * 5,
        ("mfa.block", "OK"),
        ("mfa.challenge", "TOO_MANY_ATTEMPTS"),
    ]


@pytest.mark.parametrize("kind", ["totp", "backup"])
async def test_five_hundred_parallel_guesses_look_at_five_codes(
    serve: Callable[..., Any], kind: str
) -> None:
    server: Greenroom = await serve(database_wait_seconds=60)
    who = await enrolled(server)
    tokens = [await _token(server, who) for _ in range(50)]
    wrong = wrong_code(server, who.secret) if kind == "totp" else WRONG_BACKUP_CODE
    errors = await asyncio.gather(
        *(
            failure_of(complete(server, tokens[number % 50], **{kind: wrong}))
            for number in range(500)
        )
    )
    reasons = [reason_of(error) for error in errors]
    assert reasons.count(CODE_INVALID[1]) == 5
    assert reasons.count(TOO_MANY[1]) == 495


async def test_a_try_is_counted_though_its_caller_does_not_wait(server: Greenroom) -> None:
    who = await enrolled(server)
    token = await _token(server, who)
    request = pb.CompleteMfaChallengeRequest(
        challenge_token=token, totp_code=wrong_code(server, who.secret)
    )
    for _ in range(20):
        await code_of(server.mfa.CompleteMfaChallenge(request, timeout=0.02))

    def tries(_unit: Unit) -> int:
        return int(MfaChallenge.select().get().attempts)

    assert await in_unit(server, tries) <= 5


async def test_what_has_ended_is_cleaned_up(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve(access_token_seconds=3600)
    who = await enrolled(server)
    await _token(server, who)
    request = pb.CreateMfaFactorRequest(label="never finished")
    await server.mfa.CreateMfaFactor(request, metadata=who.metadata)

    async def left() -> tuple[int, int]:
        for step in cleanup.steps(lifetimes_of(server.settings).grace):
            await in_unit(server, step, write=True)
        return await in_unit(
            server, lambda _unit: (MfaChallenge.select().count(), MfaFactor.select().count())
        )

    assert await left() == (1, 2)
    turn(server, 15 * 60 + 1)
    assert await left() == (0, 1)


@pytest.mark.skipif(shutil.which("oathtool") is None, reason="oathtool is not installed")
async def test_an_authenticator_program_logs_in(server: Greenroom) -> None:
    ada = await server.person("Ada")
    made = await server.mfa.CreateMfaFactor(pb.CreateMfaFactorRequest(), metadata=ada.metadata)

    def oathtool() -> str:
        now = server.clock.now().strftime("%Y-%m-%d %H:%M:%S UTC")
        command = ["oathtool", "--totp", "--base32", "--now", now, made.secret]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    await server.mfa.ActivateMfaFactor(
        pb.ActivateMfaFactorRequest(factor_id=made.factor.id, totp_code=oathtool()),
        metadata=ada.metadata,
    )
    turn(server, STEP)
    reply = await server.auth.LogIn(auth_pb.LogInRequest(email=ada.email, password=PASSWORD))
    token = reply.mfa_challenge.challenge_token
    assert (await complete(server, token, totp=oathtool())).user.id == ada.id
