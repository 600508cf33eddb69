"""Reauthenticate: which proof raises a session, for how long, and who sees it when."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from server.auth.models import Credential, MfaFactor, Session
from server.auth.usecases.user_status import erase
from server.core.unit import Unit
from tests.rpc.auth.scenes import audit_rows, bearer, in_unit, module_of, refresh, turn
from tests.rpc.auth.second_factors import (
    STEP,
    WRONG_BACKUP_CODE,
    challenge_of,
    code_now,
    complete,
    enrolled,
    wrong_code,
)
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import code_of, failure_of, reason_of, refused, retry_after_of

GONE = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")
STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
REJECTED = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_PROOF_REJECTED")
CODE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_MFA_CODE_INVALID")
SECOND_FACTOR = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_SECOND_FACTOR_REQUIRED")
NO_FACTOR = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_NO_MFA_FACTOR")
TOO_MANY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS")


async def _raise(server: Greenroom, who: Person, **proof: str) -> pb.ReauthenticateResponse:
    request = pb.ReauthenticateRequest(**proof)  # type: ignore[arg-type]
    return await server.auth.Reauthenticate(request, metadata=who.metadata)


async def _risky(server: Greenroom, who: Person) -> None:
    """A call that demands a fresh factor."""
    request = mfa_pb.CreateMfaFactorRequest()
    await server.mfa.CreateMfaFactor(request, metadata=who.metadata)


async def test_a_sign_in_counts_as_fresh_for_ten_minutes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    turn(server, 599)
    await _risky(server, ada)
    turn(server, 1)
    await refused(_risky(server, ada), *STEP_UP)


async def test_a_refreshed_token_is_no_fresh_proof(server: Greenroom) -> None:
    ada = await server.person("Ada")
    turn(server, 600)
    tokens = (await refresh(server, ada.tokens.tokens.refresh_token)).tokens
    renewed = Person(ada.id, ada.email, ada.tokens, bearer(tokens.access_token))
    await refused(_risky(server, renewed), *STEP_UP)


async def test_a_password_raises_the_session_for_the_minutes_of_the_setting(
    serve: Callable[..., Any],
) -> None:
    server: Greenroom = await serve(step_up_seconds=120)
    ada = await server.person("Ada")
    await server.stale(ada)
    await refused(_risky(server, ada), *STEP_UP)
    reply = await _raise(server, ada, password=PASSWORD)
    until = reply.privileged_until_time.ToDatetime(server.clock.now().tzinfo)
    assert (until - server.clock.now()).total_seconds() == 120
    await _risky(server, ada)
    turn(server, 120)
    await refused(_risky(server, ada), *STEP_UP)


async def test_only_the_calling_session_is_raised_and_its_streams_go_on(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    for person in (ada, other):
        await server.stale(person)
    ended: list[str] = []
    module_of(server).authenticator.on_revoked(ended.append)
    await _raise(server, ada, password=PASSWORD)
    await _risky(server, ada)
    await refused(_risky(server, other), *STEP_UP)
    await module_of(server).authenticator.look()
    assert ended == []


async def test_what_another_process_raised_or_lowered_is_seen_within_a_second(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    await _risky(server, ada)
    for minutes, wanted in ((-1, StatusCode.PERMISSION_DENIED), (10, StatusCode.OK)):
        turn(server, 1)
        until = server.clock.now().replace(year=2000 if minutes < 0 else 2100)

        def change(unit: Unit, until: Any = until) -> None:
            Session.update(privileged_until=until, privilege_changed_at=unit.now).where(
                Session.id == ada.session_id
            ).execute()

        await in_unit(server, change, write=True)
        began = time.monotonic()
        while await code_of(_risky(server, ada)) is not wanted:
            assert time.monotonic() - began < 1, "not seen"
            await asyncio.sleep(0.02)


async def test_a_wrong_password_raises_nothing_and_counts_with_those_of_log_in(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    await server.stale(ada)
    for _ in range(2):
        await refused(_raise(server, ada, password="wrong"), *REJECTED)
        await failure_of(server.log_in(ada.email, "wrong"))
    await refused(_raise(server, ada, password="wrong"), *REJECTED)
    assert retry_after_of(await refused(_raise(server, ada, password=PASSWORD), *TOO_MANY)) == 60
    await refused(_risky(server, ada), *STEP_UP)
    turn(server, 60)
    await _raise(server, ada, password=PASSWORD)
    await _raise(server, ada, password=PASSWORD)
    rows = [row[1] for row in await audit_rows(server) if row[0] == "session.reauthenticate"]
    assert rows == [*["BAD_CREDENTIALS"] * 3, "TOO_MANY_ATTEMPTS", "OK", "OK"]


async def test_an_account_without_a_password_cannot_be_raised_by_one(server: Greenroom) -> None:
    ada = await server.person("Ada")

    def drop(_unit: Unit) -> None:
        Credential.delete().where(Credential.user == ada.id).execute()

    await in_unit(server, drop, write=True)
    before = module_of(server).passwords.hashes
    await refused(_raise(server, ada, password=PASSWORD), *REJECTED)
    assert module_of(server).passwords.hashes == before + 1


async def test_users_with_a_second_factor_prove_that_one(server: Greenroom) -> None:
    who = await enrolled(server)
    await server.stale(who.person)
    passwords = module_of(server).passwords
    before = passwords.hashes
    for password in (PASSWORD, "wrong"):
        await refused(_raise(server, who.person, password=password), *SECOND_FACTOR)
    assert passwords.hashes == before
    await refused(_risky(server, who.person), *STEP_UP)
    await _raise(server, who.person, totp_code=code_now(server, who.secret))
    await _risky(server, who.person)
    await server.stale(who.person)
    await _raise(server, who.person, backup_code=who.backup_codes[0])
    await _risky(server, who.person)


async def test_a_factor_activated_while_the_password_is_checked_is_demanded(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = await enrolled(server)
    guards = MfaFactor.guards
    answers = iter([False])
    monkeypatch.setattr(MfaFactor, "guards", lambda user_id: next(answers, guards(user_id)))
    await refused(_raise(server, who.person, password=PASSWORD), *SECOND_FACTOR)


async def test_a_user_who_is_gone_meanwhile_is_told_so(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has purged the account, and this one has not looked yet."""
    ada = await server.person("Ada")
    await server.auth.GetMe(pb.GetMeRequest(), metadata=ada.metadata)
    monkeypatch.setattr(Unit, "emit", lambda _unit, _event: None)
    await in_unit(server, lambda unit: erase(unit, ada.id), write=True)
    for proof in ({"password": PASSWORD}, {"totp_code": "123456"}, {"backup_code": "AAAAA-AAAAA"}):
        await refused(_raise(server, ada, **proof), *GONE)


async def test_without_a_factor_codes_prove_nothing(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(_raise(server, ada, totp_code="123456"), *NO_FACTOR)
    await refused(_raise(server, ada, backup_code=WRONG_BACKUP_CODE), *NO_FACTOR)


async def test_a_code_is_used_up_across_challenge_and_reauthenticate(server: Greenroom) -> None:
    who = await enrolled(server)
    code = code_now(server, who.secret)
    await _raise(server, who.person, totp_code=code)
    token = (await challenge_of(server, who)).challenge_token
    await refused(complete(server, token, totp=code), *CODE_INVALID)
    turn(server, STEP)
    code = code_now(server, who.secret)
    await complete(server, token, totp=code)
    await refused(_raise(server, who.person, totp_code=code), *CODE_INVALID)
    backup = who.backup_codes[0]
    await _raise(server, who.person, backup_code=backup)
    await refused(_raise(server, who.person, backup_code=backup), *CODE_INVALID)


async def test_all_methods_share_one_count_that_an_enrolment_does_not_clear(
    server: Greenroom,
) -> None:
    who = await enrolled(server)
    token = (await challenge_of(server, who)).challenge_token
    request = mfa_pb.CreateMfaFactorRequest()
    made = await server.mfa.CreateMfaFactor(request, metadata=who.metadata)
    wrong = wrong_code(server, who.secret)

    async def activate(code: str) -> None:
        await server.mfa.ActivateMfaFactor(
            mfa_pb.ActivateMfaFactorRequest(factor_id=made.factor.id, totp_code=code),
            metadata=who.metadata,
        )

    await refused(complete(server, token, totp=wrong), *CODE_INVALID)
    await refused(_raise(server, who.person, totp_code=wrong), *CODE_INVALID)
    await refused(activate(wrong_code(server, made.secret)), *CODE_INVALID)
    await refused(_raise(server, who.person, totp_code=wrong), *CODE_INVALID)
    await activate(code_now(server, made.secret))  # One's own secret; the four failures stay.
    await refused(complete(server, token, totp=wrong), *CODE_INVALID)
    right = code_now(server, who.secret)
    await refused(complete(server, token, totp=right), *TOO_MANY)
    await refused(_raise(server, who.person, totp_code=right), *TOO_MANY)


@pytest.mark.parametrize("proof", ["password", "totp_code", "backup_code"])
async def test_of_five_hundred_parallel_guesses_five_are_looked_at(
    serve: Callable[..., Any], proof: str
) -> None:
    server: Greenroom = await serve(database_wait_seconds=60, hash_queue=10_000)
    ada = await server.person("Ada")
    guess, told = "wrong", REJECTED
    if proof != "password":
        who = await enrolled(server, "Eve")
        ada, told = who.person, CODE_INVALID
        guess = wrong_code(server, who.secret) if proof == "totp_code" else WRONG_BACKUP_CODE
    errors = await asyncio.gather(
        *(failure_of(_raise(server, ada, **{proof: guess})) for _ in range(500))
    )
    reasons = [reason_of(error) for error in errors]
    assert (reasons.count(told[1]), reasons.count(TOO_MANY[1])) == (5, 495)


async def test_nobody_is_raised_without_a_session_or_a_proof(server: Greenroom) -> None:
    await refused(
        server.auth.Reauthenticate(pb.ReauthenticateRequest(password=PASSWORD)),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_MISSING",
    )
    ada = await server.person("Ada")
    for proof in ({}, {"password": ""}, {"totp_code": "12345"}, {"backup_code": "x"}):
        await refused(
            _raise(server, ada, **proof),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )
