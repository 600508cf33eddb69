"""Defects that others had and that no other test here is about (tests/contract/regressions.tsv)."""

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as pb
from tests.rpc.auth.scenes import turn
from tests.rpc.auth.second_factors import challenge_of, code_now, complete, enrolled, wrong_code
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import refused

BAD_CREDENTIALS = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
CODE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_MFA_CODE_INVALID")
TOO_MANY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS")


async def test_a_second_factor_does_not_void_the_count_of_passwords(server: Greenroom) -> None:
    """Keycloak GHSA-85v8-vx4w-q684: with TOTP on, wrong passwords were not counted any more."""
    who = await enrolled(server)
    for _ in range(5):
        await refused(server.log_in(who.person.email, "not the password"), *BAD_CREDENTIALS)
    await refused(server.log_in(who.person.email, PASSWORD), *TOO_MANY)
    again = pb.ReauthenticateRequest(totp_code=code_now(server, who.secret))
    await server.auth.Reauthenticate(again, metadata=who.metadata)
    await refused(server.log_in(who.person.email, PASSWORD), *TOO_MANY)


async def test_tries_at_both_factors_in_turn_count_each_for_itself(server: Greenroom) -> None:
    """A right password between two wrong codes clears none of the codes, and a wrong code none of
    the passwords."""
    who = await enrolled(server)
    for _ in range(4):
        await refused(server.log_in(who.person.email, "not the password"), *BAD_CREDENTIALS)
    challenge = await challenge_of(server, who)
    for _ in range(5):
        wrong = complete(server, challenge.challenge_token, totp=wrong_code(server, who.secret))
        await refused(wrong, *CODE_INVALID)
    right = complete(server, challenge.challenge_token, totp=code_now(server, who.secret))
    await refused(right, *TOO_MANY)
    turn(server, 60)
    await complete(
        server,
        (await challenge_of(server, who)).challenge_token,
        totp=code_now(server, who.secret),
    )
