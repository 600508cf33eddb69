"""Raising a session by a fresh factor. Like LogIn, each proof is a count of the try that is
committed, then a look at the secret, then the effect."""

from datetime import datetime

from server.auth import audit_actions as actions
from server.auth.errors import (
    NoMfaFactor,
    ProofRejected,
    SecondFactorRequired,
    TooManyAttempts,
)
from server.auth.issuing import Device
from server.auth.models import Credential, MfaFactor, Session, User
from server.auth.passwords import Verdict
from server.auth.rules import assurance_of
from server.auth.usecases.attempts import count_try, subjects_of, take_back
from server.auth.usecases.log_in import Candidate, still_valid
from server.auth.usecases.privileges import change_privilege
from server.auth.usecases.second_factors import (
    Code,
    CodeTry,
    accept_code,
    code_refused,
    count_code_try,
    forget_failures,
    locked_caller,
    locked_user,
)
from server.auth.usecases.signing_in import SignInDesk
from server.core.db import locked
from server.core.errors import CredentialsInvalid, GreenroomError, Refused
from server.core.sealing import Keyring
from server.core.unit import Unit


def begin_by_password(unit: Unit, device: Device, *, keyring: Keyring) -> Candidate | Refused:
    """Counts a try at the caller's password, together with the tries of LogIn. Refuses when the
    user has a second factor: somebody who only knows the password gains nothing by it."""
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    if MfaFactor.guards(user.id):
        return _refused(unit, "SECOND_FACTOR_REQUIRED", "password", SecondFactorRequired())
    subjects = subjects_of(unit, keyring, user, "", device.address)
    wait = count_try(unit, subjects)
    if wait > 0:
        error = TooManyAttempts(retry_after=wait)
        return _refused(unit, "TOO_MANY_ATTEMPTS", "password", error)
    credential = Credential.get_or_none(Credential.user == user.id)
    if credential is None:
        return Candidate(subjects, user.id)
    return Candidate(subjects, user.id, credential.password_hash, credential.algorithm)


def complete_by_password(
    unit: Unit, candidate: Candidate, verdict: Verdict, *, desk: SignInDesk
) -> datetime | Refused:
    """Raises the session when the password was right, and still is."""
    # Locked first, so that of this and a change of the password each sees the other.
    locked_user(candidate.user_id)
    if not verdict.matches or not still_valid(unit, candidate, verdict):
        return _refused(unit, "BAD_CREDENTIALS", "password", ProofRejected())
    take_back(unit, candidate.subjects)
    if MfaFactor.guards(candidate.user_id):
        return _refused(unit, "SECOND_FACTOR_REQUIRED", "password", SecondFactorRequired())
    return raise_session(unit, "password", desk=desk)


def begin_by_code(unit: Unit, code: Code) -> CodeTry | Refused:
    """Counts a try at a code, together with those of challenges and enrolments."""
    user = locked_caller(unit)
    if not MfaFactor.guards(user.id):
        raise NoMfaFactor
    return count_code_try(unit, user.id, code.kind, actions.REAUTHENTICATE, _session_name(unit))


def complete_by_code(
    unit: Unit, code: Code, tried: CodeTry, *, desk: SignInDesk
) -> datetime | Refused:
    """Raises the session when the code is right."""
    user = locked_caller(unit)
    if not accept_code(unit, user, code, desk.keyring, desk.outbox):
        return code_refused(
            unit, user, tried, actions.REAUTHENTICATE, _session_name(unit), desk.outbox
        )
    forget_failures(unit, tried)
    return raise_session(unit, code.kind.lower(), desk=desk)


def raise_session(unit: Unit, method: str, *, desk: SignInDesk) -> datetime:
    """Raises the calling session, whose user has just proven themselves by ``method``; until
    when."""
    own = Session.open_for(unit.caller.user_id, unit.now)
    session = locked(own.where(Session.id == unit.caller.session_id)).get_or_none()
    if session is None:
        raise CredentialsInvalid
    if method not in session.auth_methods:
        session.auth_methods = [*session.auth_methods, method]
        session.assurance_level = max(session.assurance_level, assurance_of(session.auth_methods))
    until = unit.now + desk.issuer.lifetimes.step_up
    change_privilege(unit, session, until)
    unit.audit(actions.REAUTHENTICATE, resource=f"sessions/{session.id}", by=method)
    return until


def _refused(unit: Unit, result: str, by: str, error: GreenroomError) -> Refused:
    unit.audit(actions.REAUTHENTICATE, resource=_session_name(unit), result=result, by=by)
    return Refused(error)


def _session_name(unit: Unit) -> str:
    return f"sessions/{unit.caller.session_id}"
