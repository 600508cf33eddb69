"""However a secret is guessed at, few guesses are looked at: 500 at once, by every path, under every
spelling of the identifier and from as many networks as there are guesses (A-6)."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import otp_service_pb2 as otp_pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from tests.rpc.auth.otp_scenes import another, mailed_code, start
from tests.rpc.auth.scenes import ANOTHER_PASSWORD, module_of, set_user, turn
from tests.rpc.auth.second_factors import enrolled
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, reason_of

GUESSES = 500
MOST_LOOKED_AT = 10
PATIENT = {"database_wait_seconds": 60, "hash_queue": 10_000}
PHONE = "+491701234567"
LOOKED_AT = {
    "AUTH_ERROR_REASON_BAD_CREDENTIALS",
    "AUTH_ERROR_REASON_PROOF_REJECTED",
    "AUTH_ERROR_REASON_OTP_INVALID",
}
TOO_MANY = "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS"

Metadata = tuple[tuple[str, str], ...]
Guess = Callable[[Metadata], Awaitable[object]]

pytestmark = pytest.mark.timeout(600)


def _headers() -> Iterator[Metadata]:
    """Calls that look like others': by user agent, and half of them from a network of their own."""
    for number in itertools.count():
        agent = (("user-agent", f"guesser/{number}"), ("x-real-ip", f"198.51.100.{number % 250}"))
        if number % 2:
            yield agent
        else:
            yield (*agent, ("x-forwarded-for", f"203.{number // 250}.{number % 250}.9"))


def _spellings(ada: Person, number: int) -> list[pb.LogInRequest]:
    """Requests that all mean one account."""
    name = ada.email.partition("@")[0]
    return [
        pb.LogInRequest(email=ada.email),
        pb.LogInRequest(email=ada.email.upper()),
        pb.LogInRequest(email=f"\t{ada.email}\r\n"),
        pb.LogInRequest(email=ada.email.replace("k", "\u212a")),
        pb.LogInRequest(email=ada.email.replace(name, name.title())),
        pb.LogInRequest(phone=PHONE),
        pb.LogInRequest(username="ada.king"),
        pb.LogInRequest(username=" ADA.\u212aING "),
        pb.LogInRequest(username="Ada.King", device_name=f"device {number}"),
    ]


async def _storm(guesses: list[Guess]) -> list[str]:
    """The reasons of 500 calls at once, the kinds of guesses in turn."""
    headers = _headers()
    turns = itertools.islice(itertools.cycle(guesses), GUESSES)
    errors = await asyncio.gather(*(failure_of(guess(next(headers))) for guess in turns))
    reasons = [reason_of(error) for error in errors]
    assert set(reasons) <= LOOKED_AT | {TOO_MANY}, set(reasons)
    return reasons


def _looked_at(reasons: list[str]) -> int:
    return sum(1 for reason in reasons if reason in LOOKED_AT)


def _log_ins(server: Greenroom, requests: list[pb.LogInRequest]) -> list[Guess]:
    def guess(request: pb.LogInRequest) -> Guess:
        request.password = "guessed"
        return lambda metadata: server.auth.LogIn(request, metadata=metadata)

    return [guess(request) for request in requests]


async def test_all_paths_to_a_password_together_look_at_ten(serve: Callable[..., Any]) -> None:
    """Five from the networks at large, and five from the one that a session is open on."""
    server: Greenroom = await serve(**PATIENT)
    ada = await server.person("Adaking")
    await set_user(
        server, ada, phone=PHONE, phone_verified_at=server.clock.now(), username="ada.king"
    )
    change = password_pb.ChangePasswordRequest(
        old_password="guessed", new_password=ANOTHER_PASSWORD
    )
    raising = pb.ReauthenticateRequest(password="guessed")
    guesses = _log_ins(server, _spellings(ada, 1))
    guesses.append(
        lambda more: server.passwords.ChangePassword(change, metadata=(*ada.metadata, *more))
    )
    guesses.append(
        lambda more: server.auth.Reauthenticate(raising, metadata=(*ada.metadata, *more))
    )
    before = module_of(server).passwords.hashes
    reasons = await _storm(guesses)
    assert module_of(server).passwords.hashes - before == _looked_at(reasons) <= MOST_LOOKED_AT


@pytest.mark.parametrize("known", [True, False])
async def test_spellings_and_networks_allow_for_no_more_guesses(
    serve: Callable[..., Any], known: bool
) -> None:
    """Alike for an address that nobody has, so that the count tells nothing (A-8)."""
    server: Greenroom = await serve(**PATIENT)
    email = (await server.person("Adaking")).email if known else "nobody.king@example.com"
    requests = [
        pb.LogInRequest(email=spelling)
        for spelling in (email, email.upper(), f" {email}\n", email.replace("k", "\u212a"))
    ]
    headers = [(("x-forwarded-for", f"203.0.113.{number}"),) for number in range(250)]
    guesses = _log_ins(server, requests)
    before = module_of(server).passwords.hashes
    calls = [
        failure_of(guesses[number % len(guesses)](headers[number % 250]))
        for number in range(GUESSES)
    ]
    reasons = [reason_of(error) for error in await asyncio.gather(*calls)]
    assert module_of(server).passwords.hashes - before == _looked_at(reasons) == 5
    assert reasons.count(TOO_MANY) == GUESSES - 5


async def test_a_second_factor_does_not_void_the_count_of_passwords(
    serve: Callable[..., Any],
) -> None:
    """As in Keycloak's GHSA-85v8-vx4w-q684."""
    server: Greenroom = await serve(**PATIENT)
    ada = (await enrolled(server)).person
    before = module_of(server).passwords.hashes
    reasons = await _storm(_log_ins(server, [pb.LogInRequest(email=ada.email)]))
    assert module_of(server).passwords.hashes - before == _looked_at(reasons) <= MOST_LOOKED_AT


def _verify(
    server: Greenroom, wrong: otp_pb.VerifyOtpRequest, metadata: Metadata
) -> Awaitable[object]:
    return server.otps.VerifyOtp(wrong, metadata=metadata)


async def test_neither_spellings_nor_headers_nor_new_codes_allow_for_more_tries_at_mailed_codes(
    serve: Callable[..., Any],
) -> None:
    """As in Outline's CVE-2026-33640."""
    server: Greenroom = await serve(**PATIENT)
    ada = await server.person("Adaking")
    checker = module_of(server).codes
    before = checker.compared
    name, _, domain = ada.email.partition("@")
    spellings = [
        ada.email,
        ada.email.upper(),
        f"{name.title()}@{domain}",
        f"{name}@{domain.title()}",
    ]
    for number, spelling in enumerate(spellings[:2]):
        turn(server, 61)
        asked = await start(server, spelling)
        code = another(await mailed_code(server, ada.email, number + 2))
        wrong = otp_pb.VerifyOtpRequest(otp_id=asked.otp_id, code=code)
        await _storm([partial(_verify, server, wrong)])
        assert checker.compared - before == 5 * (number + 1) <= MOST_LOOKED_AT
    turn(server, 61)
    for spelling in spellings:
        for header in (("x-forwarded-for", "203.0.113.7"), ("user-agent", "another")):
            request = otp_pb.StartOtpRequest(purpose=otp_pb.OTP_PURPOSE_SIGN_IN, email=spelling)
            error = await failure_of(server.otps.StartOtp(request, metadata=(header,)))
            assert (error.code(), reason_of(error)) == (StatusCode.RESOURCE_EXHAUSTED, TOO_MANY)
