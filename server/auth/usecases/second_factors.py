"""Codes of second factors: how tries are counted, and what a code is worth.

Every way that takes a code (completing a challenge, activating a factor, Reauthenticate) goes
through here in two units: the first counts the try, which is committed before anybody looks at the
code; the second locks the user, so that of parallel calls with one code one is right.
"""

from dataclasses import dataclass

import pyotp

from server.auth import audit_actions as actions
from server.auth.errors import MfaCodeInvalid, TooManyAttempts
from server.auth.mails import factor_changed_mail
from server.auth.models import MfaFactor, MfaTries, RecoveryCode, Session, User
from server.auth.outbox import Outbox
from server.auth.rules import (
    BACKUP_CODES,
    MFA_CODE_LIMIT,
    CodeKind,
    Tally,
    counted,
    fold_backup_code,
    forgiven,
    matched_step,
    new_backup_code,
    tells_by_mail,
    wait_of,
)
from server.core.db import locked_one, locked_or_new
from server.core.errors import CredentialsInvalid, Refused
from server.core.sealing import Keyring
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class Code:
    """A code as it was given."""

    kind: CodeKind
    value: str


@dataclass(frozen=True, slots=True)
class CodeTry:
    """A try that was counted; ``number`` is that of its failure, should it be one."""

    user_id: str
    kind: CodeKind
    number: int


def locked_user(user_id: str) -> User | None:
    """The user, locked: all that is done to their second factors is done one after the other."""
    return locked_one(User, User.id == user_id)


def locked_caller(unit: Unit) -> User:
    """The caller, locked, and their session still open: raises ``CredentialsInvalid`` otherwise.

    Whoever is thrown out of an account has it locked meanwhile. A call that waited for that must not
    leave behind a way in, or a token, that outlives its session.
    """
    user = locked_user(unit.caller.user_id)
    if user is not None:
        own = Session.open_for(user.id, unit.now)
        if own.where(Session.id == unit.caller.session_id).exists():
            return user
    raise CredentialsInvalid


def count_code_try(
    unit: Unit, user_id: str, kind: CodeKind, action: str, resource: str
) -> CodeTry | Refused:
    """Counts one try as failed before its code is looked at; where the account has to wait it
    counts nothing and refuses. To be called with the user locked."""
    row = _tries_of(unit, user_id, kind)
    wait = wait_of(row.tally, unit.now)
    if wait > 0:
        unit.audit(action, resource=resource, result="TOO_MANY_ATTEMPTS", actor_id=user_id, by=kind)
        return Refused(TooManyAttempts(retry_after=wait))
    row.keep(counted(row.tally, unit.now, MFA_CODE_LIMIT), unit.now)
    return CodeTry(user_id, kind, row.failures)


def forget_failures(unit: Unit, tried: CodeTry) -> None:
    """After a right code: the account starts anew with this kind of code."""
    _tries_of(unit, tried.user_id, tried.kind).keep(Tally(), unit.now)


def take_back_try(unit: Unit, tried: CodeTry) -> None:
    """Takes back this try and no other: a right code of a factor that is being enrolled says
    nothing about the guesses at those that are in use."""
    row = _tries_of(unit, tried.user_id, tried.kind)
    row.keep(forgiven(row.tally), unit.now)


def code_refused(
    unit: Unit, user: User, tried: CodeTry, action: str, resource: str, outbox: Outbox
) -> Refused:
    """What follows from a wrong code: an audit row, and word to the user when waits begin."""
    unit.audit(action, resource=resource, result="BAD_CODE", actor_id=user.id, by=tried.kind)
    row = _tries_of(unit, user.id, tried.kind)
    if tells_by_mail(tried.number) and row.blocked_until is not None:
        unit.audit(
            actions.MFA_BLOCK, resource=f"users/{user.id}", actor_id=user.id, kind=tried.kind
        )
        tell_of_factor(unit, user, outbox, "blocked")
    return Refused(MfaCodeInvalid())


def accept_code(unit: Unit, user: User, code: Code, keyring: Keyring, outbox: Outbox) -> bool:
    """Whether the code proves a second factor of the user; a right one is used up. To be called
    with the user locked."""
    if code.kind is CodeKind.TOTP:
        return any(uses_step(unit, factor, code.value, keyring) for factor in _active(user))
    return _uses_backup_code(unit, user, code.value, keyring, outbox)


def uses_step(unit: Unit, factor: MfaFactor, code: str, keyring: Keyring) -> bool:
    """Whether a code belongs to a factor and to a step that is later than any it was used with; a
    right one is used up."""
    place = _place_of(factor.id, factor.user_id)
    app = pyotp.TOTP(keyring.open(factor.secret_enc, place).decode())
    step = matched_step(code, unit.now, factor.last_used_step, app.generate_otp)
    if step is None:
        return False
    # The condition says it a second time, where no lost lock can make it untrue.
    unused = MfaFactor.last_used_step.is_null() | (MfaFactor.last_used_step < step)
    used = MfaFactor.update(last_used_step=step, last_used_at=unit.now, update_time=unit.now).where(
        (MfaFactor.id == factor.id) & unused
    )
    return bool(used.execute() == 1)


def seal_secret(factor_id: str, user_id: str, secret: str, keyring: Keyring) -> str:
    """A factor's secret as it lies on its row, and opens nowhere else."""
    return keyring.seal(secret.encode(), _place_of(factor_id, user_id))


def renew_backup_codes(unit: Unit, user_id: str, keyring: Keyring) -> tuple[str, ...]:
    """A new set in place of the old one; the only time that the codes are seen."""
    drop_backup_codes(user_id)
    codes = tuple(new_backup_code() for _ in range(BACKUP_CODES))
    for code in codes:
        RecoveryCode.create(
            user=user_id,
            code_hash=keyring.hmac("backup-codes", _coded(user_id, code)).hex(),
        )
    return codes


def drop_second_factors(user_id: str) -> None:
    """Deletes all that is asked for after a first factor, for an account that gets a new owner."""
    MfaFactor.delete().where(MfaFactor.user == user_id).execute()
    drop_backup_codes(user_id)


def drop_backup_codes(user_id: str) -> None:
    """Deletes every backup code of a user, used or not."""
    RecoveryCode.delete().where(RecoveryCode.user == user_id).execute()


def _active(user: User) -> list[MfaFactor]:
    return list(MfaFactor.active_for(user.id).order_by(MfaFactor.id))


def _uses_backup_code(unit: Unit, user: User, code: str, keyring: Keyring, outbox: Outbox) -> bool:
    coded = _coded(user.id, code)
    left = list(RecoveryCode.left_for(user.id))
    found = ""
    for row in left:
        if keyring.verify_hmac("backup-codes", coded, bytes.fromhex(row.code_hash)):
            found = row.id
    used = RecoveryCode.update(used_at=unit.now, update_time=unit.now).where(
        (RecoveryCode.id == found) & RecoveryCode.used_at.is_null()
    )
    if used.execute() != 1:
        return False
    tell_of_factor(unit, user, outbox, "code_used", codes_left=len(left) - 1)
    return True


def tell_of_factor(
    unit: Unit, user: User, outbox: Outbox, news: str, *, codes_left: int | None = None
) -> None:
    """Mails the user what has happened to their second factor."""
    if user.email is not None:
        mail = factor_changed_mail(
            user.email, user.language, news, unit.address, unit.now, codes_left=codes_left
        )
        outbox.enqueue(unit, mail)


def _coded(user_id: str, code: str) -> bytes:
    return f"{user_id}|{fold_backup_code(code)}".encode()


def _place_of(factor_id: str, user_id: str) -> str:
    return f"mfa_factors|secret_enc|{factor_id}|{user_id}"


def _tries_of(unit: Unit, user_id: str, kind: CodeKind) -> MfaTries:
    return locked_or_new(MfaTries, {"user": user_id, "kind": kind}, update_time=unit.now)
