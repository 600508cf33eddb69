"""Changing a password by the old one. Like LogIn: a count of the try that is committed, then a look
at the password, then the effect."""

from server.auth import audit_actions as actions
from server.auth.errors import ProofRejected, TooManyAttempts
from server.auth.issuing import Device
from server.auth.models import User
from server.auth.passwords import ALGORITHM, Verdict
from server.auth.rules import RevokeReason
from server.auth.usecases.attempts import count_try, subjects_of, take_back
from server.auth.usecases.endings import end_all_sessions
from server.auth.usecases.log_in import Candidate, candidate_of, still_valid
from server.auth.usecases.new_accounts import store_password
from server.auth.usecases.password_resets import PasswordDesk, after_change, known_of
from server.auth.usecases.second_factors import locked_user
from server.core.errors import CredentialsInvalid, Refused
from server.core.sealing import Keyring
from server.core.unit import Unit


def known_of_caller(unit: Unit) -> tuple[str, ...]:
    """What a new password of the caller must not be made of."""
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    return known_of(user)


def begin_change(unit: Unit, device: Device, *, keyring: Keyring) -> Candidate | Refused:
    """Counts a try at the caller's password, together with those of LogIn."""
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    subjects = subjects_of(unit, keyring, user, "", device.address)
    wait = count_try(unit, subjects)
    if wait > 0:
        unit.audit(actions.PASSWORD_CHANGE, resource=f"users/{user.id}", result="TOO_MANY_ATTEMPTS")
        return Refused(TooManyAttempts(retry_after=wait))
    return candidate_of(user, subjects)


def complete_change(
    unit: Unit, candidate: Candidate, verdict: Verdict, password_hash: str, *, desk: PasswordDesk
) -> Refused | None:
    """Stores the new password when the old one was right and still is, and ends the caller's other
    sessions."""
    # Locked first, so that a sign-in by the old password that is under way sees the new one.
    user = locked_user(candidate.user_id)
    resource = f"users/{candidate.user_id}"
    if user is None or not verdict.matches or not still_valid(unit, candidate, verdict):
        unit.audit(actions.PASSWORD_CHANGE, resource=resource, result="BAD_CREDENTIALS")
        return Refused(ProofRejected())
    take_back(unit, candidate.subjects)
    store_password(unit, user, password_hash, ALGORITHM)
    ended = end_all_sessions(
        unit, user.id, RevokeReason.PASSWORD_CHANGE, but=unit.caller.session_id or ""
    )
    after_change(unit, user, desk.outbox)
    unit.audit(actions.PASSWORD_CHANGE, resource=resource, sessions=ended)
    return None
