"""Completing a sign-in whose first factor was proven: the count of tries, then the code."""

from dataclasses import dataclass

from server.auth import audit_actions as actions
from server.auth.errors import MfaChallengeInvalid
from server.auth.issuing import Device, hash_of
from server.auth.models import MfaChallenge, MfaFactor, User
from server.auth.rules import MFA_CHALLENGE_TRIES
from server.auth.usecases.second_factors import (
    Code,
    CodeTry,
    accept_code,
    code_refused,
    count_code_try,
    forget_failures,
    locked_user,
)
from server.auth.usecases.signing_in import SignedInUser, SignInDesk, begin_session
from server.auth.usecases.users import may_sign_in
from server.core.errors import Refused
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class ChallengeTry:
    """A counted try at a challenge."""

    challenge_id: str
    tried: CodeTry


def begin_completion(unit: Unit, token: str, code: Code) -> ChallengeTry | Refused:
    """Counts a try at a challenge, for the challenge and for the account, to be committed before
    the code is looked at."""
    found = MfaChallenge.get_or_none(MfaChallenge.token_hash == hash_of(token))
    user = None if found is None else locked_user(found.user_id)
    challenge = None if found is None else _open(unit, found.id, MFA_CHALLENGE_TRIES)
    if user is None or challenge is None:
        return _challenge_refused(unit, "" if found is None else found.user_id)
    tried = count_code_try(unit, user.id, code.kind, actions.MFA_CHALLENGE, _name_of(challenge))
    if isinstance(tried, Refused):
        return tried
    challenge.attempts += 1
    challenge.save()
    return ChallengeTry(challenge.id, tried)


def complete_challenge(
    unit: Unit, counted: ChallengeTry, code: Code, device: Device, *, desk: SignInDesk
) -> SignedInUser | Refused:
    """Opens the session when the code is right and the account is still in use. The device keeps
    the name that it gave with the first factor."""
    user = locked_user(counted.tried.user_id)
    challenge = _open(unit, counted.challenge_id, MFA_CHALLENGE_TRIES + 1)
    if user is None or challenge is None or not _may_go_on(unit, user):
        return _challenge_refused(unit, counted.tried.user_id)
    if not accept_code(unit, user, code, desk.keyring, desk.outbox):
        return code_refused(
            unit, user, counted.tried, actions.MFA_CHALLENGE, _name_of(challenge), desk.outbox
        )
    forget_failures(unit, counted.tried)
    challenge.consumed_at = unit.now
    challenge.save()
    methods = [challenge.method, code.kind.lower()]
    named = Device(device.address, device.user_agent, challenge.device_info)
    return begin_session(unit, user, named, desk=desk, methods=methods)


def _open(unit: Unit, challenge_id: str, most: int) -> MfaChallenge | None:
    """The challenge as it stands once its user is locked, if it was tried fewer than ``most``
    times and can still be completed."""
    challenge: MfaChallenge | None = MfaChallenge.get_or_none(MfaChallenge.id == challenge_id)
    if challenge is None:
        # Whatever ends a user's sessions deletes the challenges too, also between two looks.
        return None
    usable = challenge.consumed_at is None and challenge.expires_at > unit.now
    return challenge if usable and challenge.attempts < most else None


def _may_go_on(unit: Unit, user: User) -> bool:
    """False when the account was closed meanwhile, or lost the factor that is asked for."""
    return may_sign_in(user, unit.now) and MfaFactor.guards(user.id)


def _challenge_refused(unit: Unit, user_id: str) -> Refused:
    unit.audit(
        actions.MFA_CHALLENGE,
        resource=f"users/{user_id}" if user_id else "",
        result="CHALLENGE_INVALID",
        actor_id=user_id or None,
    )
    return Refused(MfaChallengeInvalid())


def _name_of(challenge: MfaChallenge) -> str:
    return f"mfaChallenges/{challenge.id}"
