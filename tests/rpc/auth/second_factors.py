"""What the tests of second factors do over and over."""

from dataclasses import dataclass

import pyotp

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_service_pb2 as pb
from greenroom.auth.v1 import sign_in_pb2
from server.auth.rules import step_of
from tests.rpc.auth.scenes import bearer, turn
from tests.support.serve import PASSWORD, Greenroom, Person

STEP = 30
WRONG_BACKUP_CODE = "00000-00000"


@dataclass
class Enrolled:
    """Somebody with a second factor."""

    person: Person
    factor_id: str
    secret: str
    backup_codes: list[str]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of the session that enrolled."""
        return self.person.metadata


def code_now(server: Greenroom, secret: str, steps: int = 0) -> str:
    """The code of the server's present half minute, or of one some steps later."""
    return pyotp.TOTP(secret).generate_otp(step_of(server.clock.now()) + steps)


def wrong_code(server: Greenroom, secret: str) -> str:
    """A code that no half minute nearby has."""
    near = {code_now(server, secret, steps) for steps in range(-3, 4)}
    return next(code for code in (f"{number:06}" for number in range(10)) if code not in near)


async def enrol(server: Greenroom, person: Person, label: str = "phone") -> Enrolled:
    """Gives somebody a second factor, and goes on to a half minute whose code is unused."""
    made = await server.mfa.CreateMfaFactor(
        pb.CreateMfaFactorRequest(label=label), metadata=person.metadata
    )
    activated = await server.mfa.ActivateMfaFactor(
        pb.ActivateMfaFactorRequest(
            factor_id=made.factor.id, totp_code=code_now(server, made.secret)
        ),
        metadata=person.metadata,
    )
    turn(server, STEP)
    return Enrolled(person, made.factor.id, made.secret, list(activated.backup_codes))


async def enrolled(server: Greenroom, name: str = "Ada") -> Enrolled:
    """Somebody new with a second factor."""
    return await enrol(server, await server.person(name))


async def challenge_of(
    server: Greenroom, who: Enrolled, password: str = PASSWORD
) -> sign_in_pb2.MfaChallenge:
    """What a log-in with the right password ends with."""
    reply = await server.auth.LogIn(
        auth_pb.LogInRequest(email=who.person.email, password=password, device_name="laptop")
    )
    assert reply.WhichOneof("outcome") == "mfa_challenge"
    return reply.mfa_challenge


async def complete(
    server: Greenroom, token: str, *, totp: str = "", backup: str = ""
) -> sign_in_pb2.SignedIn:
    """Answers a challenge."""
    request = pb.CompleteMfaChallengeRequest(challenge_token=token)
    if totp:
        request.totp_code = totp
    else:
        request.backup_code = backup
    return (await server.mfa.CompleteMfaChallenge(request)).signed_in


async def sign_in(server: Greenroom, who: Enrolled) -> Person:
    """A session that is opened by both factors."""
    challenge = await challenge_of(server, who)
    signed_in = await complete(server, challenge.challenge_token, totp=code_now(server, who.secret))
    turn(server, STEP)
    return Person(who.person.id, who.person.email, signed_in, bearer(signed_in.tokens.access_token))
