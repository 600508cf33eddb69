"""Logging in: count the try, let the password be checked outside of any transaction, then
finish."""

from dataclasses import dataclass

from server.auth import audit_actions as actions
from server.auth.errors import BadCredentials, TooManyAttempts
from server.auth.issuing import Device
from server.auth.models import Credential, User
from server.auth.passwords import ALGORITHM, Verdict
from server.auth.rules import fold_email, fold_username
from server.auth.usecases.attempts import Subjects, count_try, subjects_of, take_back
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.signing_in import SignInDesk, SignInOutcome, finish_sign_in
from server.auth.usecases.users import may_sign_in
from server.core.errors import Refused
from server.core.sealing import Keyring
from server.core.unit import Unit

_FOLDS = {"email": fold_email, "username": fold_username, "phone": str.strip}


@dataclass(frozen=True, slots=True)
class Identifier:
    """Who wants to log in; ``kind`` is ``email``, ``phone`` or ``username``."""

    kind: str
    value: str

    @property
    def folded(self) -> str:
        """The value in the form it is stored in."""
        return _FOLDS[self.kind](self.value)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Whose password has to be checked. For an unknown account everything is empty."""

    subjects: Subjects
    user_id: str = ""
    password_hash: str | None = None
    algorithm: str = ALGORITHM


def begin_log_in(
    unit: Unit, identifier: Identifier, device: Device, *, keyring: Keyring
) -> Candidate | Refused:
    """Counts the try, to be committed before the password is looked at; refuses when the account or
    the address has to wait. An unknown identifier is treated like a known one."""
    user = User.by_identifier(identifier.kind, identifier.folded)
    if identifier.kind == "phone" and user is not None and user.phone_verified_at is None:
        user = None  # A number that nobody has proven says nothing about whose account it is.
    tried = f"{identifier.kind}:{identifier.folded}"
    subjects = subjects_of(unit, keyring, user, tried, device.address)
    wait = count_try(unit, subjects)
    if wait > 0:
        unit.audit(actions.LOG_IN, resource=_resource_of(user), result="TOO_MANY_ATTEMPTS")
        return Refused(TooManyAttempts(retry_after=wait))
    return Candidate(subjects) if user is None else candidate_of(user, subjects)


def candidate_of(user: User, subjects: Subjects) -> Candidate:
    """What the password of an account is checked against; nothing matches where it has none."""
    credential = Credential.get_or_none(Credential.user == user.id)
    if credential is None:
        return Candidate(subjects, user.id)
    return Candidate(subjects, user.id, credential.password_hash, credential.algorithm)


def complete_log_in(
    unit: Unit, candidate: Candidate, verdict: Verdict, device: Device, *, desk: SignInDesk
) -> SignInOutcome | Refused:
    """Signs in when the password was right and the account is in use."""
    # Locked, so that of a sign-in and a change of the password each sees the other: no session is
    # opened by a password that was replaced while it was being checked.
    user = locked_user(candidate.user_id) if verdict.matches else None
    if user is None or not may_sign_in(user, unit.now) or not still_valid(unit, candidate, verdict):
        tried = f"users/{candidate.user_id}" if candidate.user_id else ""
        unit.audit(actions.LOG_IN, resource=tried, result="BAD_CREDENTIALS")
        return Refused(BadCredentials())
    take_back(unit, candidate.subjects)
    return finish_sign_in(unit, user, device, desk=desk, method="password")


def still_valid(unit: Unit, candidate: Candidate, verdict: Verdict) -> bool:
    """False when the password was changed while it was being checked. Stores a fresh hash if the
    check made one."""
    same = (Credential.user == candidate.user_id) & (
        Credential.password_hash == candidate.password_hash
    )
    if verdict.fresh is None:
        return Credential.get_or_none(same) is not None
    changed = Credential.update(
        password_hash=verdict.fresh, algorithm=ALGORITHM, update_time=unit.now
    ).where(same)
    return bool(changed.execute() == 1)


def _resource_of(user: User | None) -> str:
    return "" if user is None else f"users/{user.id}"
