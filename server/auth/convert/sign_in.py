"""What a sign-in brings and what comes of it."""

from typing import Protocol, TypeVar

from greenroom.auth.v1 import (
    auth_service_pb2,
    session_pb2,
    sign_in_pb2,
)
from server.auth.convert.accounts import user_to_pb
from server.auth.convert.sessions import session_to_pb
from server.auth.convert.times import time_to_pb
from server.auth.issuing import Device, IssuedTokens
from server.auth.rules import plain_text
from server.auth.usecases.log_in import Identifier
from server.auth.usecases.signing_in import SecondFactorNeeded, SignedInUser, SignInOutcome
from server.wire.call import Call


def identifier_from_pb(request: auth_service_pb2.LogInRequest) -> Identifier:
    """Which of the identifiers was given, and its value. No address is without an @ and no user
    name has one, so that a form with one field for both is understood."""
    kind = request.WhichOneof("identifier")
    assert kind is not None, "the request was validated"
    value: str = getattr(request, kind)
    if kind == "mobile":
        return Identifier("phone", value)
    if kind == "email" and "@" not in value:
        return Identifier("username", value)
    return Identifier(kind, value)


def device_of(call: Call, name: str = "") -> Device:
    """Where the call comes from."""
    return Device(address=call.address, user_agent=call.user_agent, name=plain_text(name))


class _Outcome(Protocol):
    @property
    def signed_in(self) -> sign_in_pb2.SignedIn: ...
    @property
    def mfa_challenge(self) -> sign_in_pb2.MfaChallenge: ...


Reply = TypeVar("Reply", bound=_Outcome)


def outcome_to_pb(outcome: SignInOutcome, reply: Reply) -> Reply:
    """Fills the reply of a way in with what came of it; the same for every way."""
    if isinstance(outcome, SecondFactorNeeded):
        challenge = reply.mfa_challenge
        challenge.challenge_token = outcome.challenge_token
        challenge.methods.extend(
            sign_in_pb2.MfaMethod.Value(f"MFA_METHOD_{method}") for method in outcome.methods
        )
        challenge.expire_time.CopyFrom(time_to_pb(outcome.expires))
        return reply
    reply.signed_in.CopyFrom(signed_in_to_pb(outcome))
    return reply


def signed_in_to_pb(signed_in: SignedInUser) -> sign_in_pb2.SignedIn:
    """An open session and its tokens."""
    return sign_in_pb2.SignedIn(
        session=session_to_pb(signed_in.session, signed_in.session.id),
        tokens=tokens_to_pb(signed_in.tokens),
        user=user_to_pb(signed_in.user),
    )


def tokens_to_pb(tokens: IssuedTokens) -> session_pb2.TokenPair:
    """The pair for the client."""
    return session_pb2.TokenPair(
        access_token=tokens.access_token,
        access_expire_time=time_to_pb(tokens.access_expires),
        refresh_token=tokens.refresh_token,
        refresh_expire_time=time_to_pb(tokens.refresh_expires),
    )
