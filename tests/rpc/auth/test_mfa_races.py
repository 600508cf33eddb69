"""One code and many callers. `make soak-mfa` plays 1,000 rounds of the first race on each
database; here it is a few."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_service_pb2 as pb
from server.auth.models import MfaChallenge, RecoveryCode, Session
from server.auth.rules import AttemptLimit
from server.auth.usecases import second_factors
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit, turn
from tests.rpc.auth.second_factors import (
    STEP,
    Enrolled,
    challenge_of,
    code_now,
    complete,
    enrolled,
)
from tests.support.serve import Greenroom
from tests.support.statuses import code_of

CALLERS = 64
ROUNDS = int(os.environ.get("MFA_ROUNDS", "5"))


@pytest.fixture
async def server(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that lets everybody wait for the database, and with the count of tries out of the
    way: it would let five of the callers through only, and hide what happens among many."""
    known = second_factors.MFA_CODE_LIMIT
    endless = AttemptLimit(
        free=10**9,
        first_wait=known.first_wait,
        longest_wait=known.longest_wait,
        forget_after=known.forget_after,
        forget_blocked_after=known.forget_blocked_after,
    )
    monkeypatch.setattr(second_factors, "MFA_CODE_LIMIT", endless)
    monkeypatch.setattr("server.auth.usecases.mfa_challenges.MFA_CHALLENGE_TRIES", 10**9)
    return await serve(database_wait_seconds=60, database_pool_size=16)


async def _tokens(server: Greenroom, who: Enrolled) -> list[str]:
    return [(await challenge_of(server, who)).challenge_token for _ in range(CALLERS)]


async def _successes(calls: list[Awaitable[object]]) -> int:
    codes = await asyncio.gather(*map(code_of, calls))
    assert set(codes) <= {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.UNAUTHENTICATED}
    return codes.count(StatusCode.OK)


def _reopen(unit: Unit) -> None:
    """All challenges are as good as new, so that the next round needs no log-ins."""
    MfaChallenge.update(
        attempts=0, consumed_at=None, expires_at=unit.now.replace(year=unit.now.year + 1)
    ).execute()


@pytest.mark.timeout(3600)
async def test_of_64_callers_with_one_code_one_gets_in(server: Greenroom) -> None:
    who = await enrolled(server)
    tokens = await _tokens(server, who)
    for number in range(ROUNDS):
        await in_unit(server, _reopen, write=True)
        code = code_now(server, who.secret)
        calls = [complete(server, token, totp=code) for token in tokens]
        assert await _successes(calls) == 1, f"round {number}"
        turn(server, STEP)

    def opened(_unit: Unit) -> int:
        return Session.select().count()

    assert await in_unit(server, opened) == ROUNDS + 1


async def test_of_64_callers_with_one_challenge_one_gets_in(server: Greenroom) -> None:
    who = await enrolled(server)
    token = (await challenge_of(server, who)).challenge_token
    code = code_now(server, who.secret)
    calls = [complete(server, token, totp=code) for _ in range(CALLERS // 2)]
    calls += [complete(server, token, backup=code) for code in who.backup_codes]
    assert await _successes(list(calls)) == 1


async def test_of_32_callers_with_one_backup_code_one_gets_in(server: Greenroom) -> None:
    who = await enrolled(server)
    tokens = (await _tokens(server, who))[:32]
    for backup in who.backup_codes[:3]:
        calls = [complete(server, token, backup=backup) for token in tokens]
        assert await _successes(list(calls)) == 1
        await in_unit(server, _reopen, write=True)

    def used(_unit: Unit) -> int:
        return RecoveryCode.select().where(RecoveryCode.used_at.is_null(False)).count()

    assert await in_unit(server, used) == 3


async def test_a_code_is_good_once_over_all_methods(server: Greenroom) -> None:
    who = await enrolled(server)
    tokens = (await _tokens(server, who))[:8]
    code = code_now(server, who.secret)
    calls: list[Awaitable[object]] = [complete(server, token, totp=code) for token in tokens]
    proof = auth_pb.ReauthenticateRequest(totp_code=code)
    calls += [server.auth.Reauthenticate(proof, metadata=who.metadata) for _ in range(8)]
    assert await _successes(calls) == 1


async def test_of_parallel_activations_one_gives_codes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    made = await server.mfa.CreateMfaFactor(pb.CreateMfaFactorRequest(), metadata=ada.metadata)
    request = pb.ActivateMfaFactorRequest(
        factor_id=made.factor.id, totp_code=code_now(server, made.secret)
    )
    calls = [
        code_of(server.mfa.ActivateMfaFactor(request, metadata=ada.metadata)) for _ in range(16)
    ]
    codes = await asyncio.gather(*calls)
    assert codes.count(StatusCode.OK) == 1
    assert codes.count(StatusCode.FAILED_PRECONDITION) == 15


async def test_parallel_enrolments_leave_one_pending(server: Greenroom) -> None:
    ada = await server.person("Ada")
    calls = [
        server.mfa.CreateMfaFactor(pb.CreateMfaFactorRequest(), metadata=ada.metadata)
        for _ in range(16)
    ]
    await asyncio.gather(*calls)
    listed = await server.mfa.ListMfaFactors(pb.ListMfaFactorsRequest(), metadata=ada.metadata)
    assert len(listed.factors) == 1
