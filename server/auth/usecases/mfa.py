"""Second factors of a user: enrol, activate, list, remove, and new backup codes."""

from dataclasses import dataclass
from typing import Any

import pyotp

from server.auth import audit_actions as actions
from server.auth.errors import (
    MfaFactorNotFound,
    MfaFactorNotPending,
    NoMfaFactor,
    TooManyMfaFactors,
)
from server.auth.events import UserChanged
from server.auth.models import MfaChallenge, MfaFactor, RecoveryCode, Session
from server.auth.rules import (
    ENROLMENT_LIFE,
    MOST_FACTORS,
    CodeKind,
    FactorStatus,
    plain_text,
)
from server.auth.usecases.privileges import lower_other_sessions
from server.auth.usecases.second_factors import (
    CodeTry,
    code_refused,
    count_code_try,
    drop_backup_codes,
    locked_caller,
    renew_backup_codes,
    seal_secret,
    take_back_try,
    tell_of_factor,
    uses_step,
)
from server.auth.usecases.signing_in import SignInDesk
from server.core.errors import Refused
from server.core.ids import new_id
from server.core.pagination import Order, Page, Pages, paginate
from server.core.sealing import Keyring
from server.core.unit import Unit

ISSUER = "Greenroom"
"""What authenticator apps show beside the account."""


@dataclass(frozen=True, slots=True)
class NewFactor:
    """A factor that waits for its first code, and the only sight of its secret."""

    factor: MfaFactor
    secret: str
    otpauth_uri: str


@dataclass(frozen=True, slots=True)
class ActivatedFactor:
    """A factor that is in use now, with the backup codes that came with it, if any."""

    factor: MfaFactor
    backup_codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnFactors:
    """One page of a user's factors."""

    page: Page[MfaFactor]
    backup_codes_left: int


def create_factor(unit: Unit, label: str, *, keyring: Keyring) -> NewFactor:
    """Begins an enrolment, in place of one that was begun earlier; ``TooManyMfaFactors`` when
    there are as many active factors as there may be."""
    user = locked_caller(unit)
    if MfaFactor.active_for(user.id).count() >= MOST_FACTORS:
        raise TooManyMfaFactors(most=MOST_FACTORS)
    MfaFactor.delete().where(
        (MfaFactor.user == user.id) & (MfaFactor.status == FactorStatus.PENDING)
    ).execute()
    secret = pyotp.random_base32()
    factor_id = new_id()
    factor = MfaFactor.create(
        id=factor_id,
        user=user.id,
        label=plain_text(label),
        secret_enc=seal_secret(factor_id, user.id, secret, keyring),
        expires_at=unit.now + ENROLMENT_LIFE,
    )
    unit.audit(actions.MFA_CREATE, resource=_name_of(factor))
    account = user.email or user.phone or user.username or user.display_name
    uri = pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=ISSUER)
    return NewFactor(factor, secret, uri)


def begin_activation(unit: Unit, factor_id: str) -> CodeTry | Refused:
    """Counts a try at the first code of a factor, to be committed before the code is looked at."""
    user = locked_caller(unit)
    factor = _pending(unit, factor_id)
    return count_code_try(unit, user.id, CodeKind.TOTP, actions.MFA_ACTIVATE, _name_of(factor))


def complete_activation(
    unit: Unit, factor_id: str, code: str, tried: CodeTry, *, desk: SignInDesk
) -> ActivatedFactor | Refused:
    """Puts a factor in use when its first code is right. The calling session has proven it; what
    the user's other sessions were trusted with is over."""
    user = locked_caller(unit)
    factor = _pending(unit, factor_id)
    if not uses_step(unit, factor, code, desk.keyring):
        return code_refused(unit, user, tried, actions.MFA_ACTIVATE, _name_of(factor), desk.outbox)
    take_back_try(unit, tried)
    factor = MfaFactor.get_by_id(factor.id)
    factor.status = FactorStatus.ACTIVE
    factor.activated_at = unit.now
    factor.expires_at = None
    factor.save()
    codes: tuple[str, ...] = ()
    if not RecoveryCode.left_for(user.id).exists():
        codes = renew_backup_codes(unit, user.id, desk.keyring)
    _remember_proof(unit)
    lower_other_sessions(unit)
    unit.audit(actions.MFA_ACTIVATE, resource=_name_of(factor))
    tell_of_factor(unit, user, desk.outbox, "added")
    unit.emit(UserChanged(user.id))
    return ActivatedFactor(factor, codes)


def list_factors(unit: Unit, pages: Pages, *, page_size: int, page_token: str) -> OwnFactors:
    """One page of the caller's factors, oldest first, and how many backup codes are left."""
    page = paginate(
        pages,
        MfaFactor.for_owner(unit.caller, unit.now),
        order=[Order(MfaFactor.id)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "mfa_factors", "user": unit.caller.user_id},
    )
    return OwnFactors(page, RecoveryCode.left_for(unit.caller.user_id).count())


def delete_factor(unit: Unit, factor_id: str, *, desk: SignInDesk) -> None:
    """Removes one of the caller's factors; with the last active one goes all that is asked for at
    sign-in. ``MfaFactorNotFound`` for an unknown one and for somebody else's."""
    user = locked_caller(unit)
    factor = _own(unit, factor_id)
    factor.delete_instance()
    if not MfaFactor.guards(user.id):
        drop_backup_codes(user.id)
        MfaChallenge.delete().where(MfaChallenge.user == user.id).execute()
    unit.audit(actions.MFA_DELETE, resource=_name_of(factor), was=factor.status)
    if factor.status == FactorStatus.ACTIVE:
        tell_of_factor(unit, user, desk.outbox, "removed")
        unit.emit(UserChanged(user.id))


def regenerate_backup_codes(unit: Unit, *, desk: SignInDesk) -> tuple[str, ...]:
    """A new set in place of the old one; ``NoMfaFactor`` where there is nothing to stand in
    for."""
    user = locked_caller(unit)
    if not MfaFactor.guards(user.id):
        raise NoMfaFactor
    codes = renew_backup_codes(unit, user.id, desk.keyring)
    unit.audit(actions.MFA_BACKUP_CODES, resource=f"users/{user.id}")
    tell_of_factor(unit, user, desk.outbox, "codes_renewed", codes_left=len(codes))
    return codes


def _own(unit: Unit, factor_id: str) -> MfaFactor:
    owned: Any = MfaFactor.for_owner(unit.caller, unit.now).where(MfaFactor.id == factor_id)
    factor: MfaFactor | None = owned.get_or_none()
    if factor is None:
        raise MfaFactorNotFound
    return factor


def _pending(unit: Unit, factor_id: str) -> MfaFactor:
    factor = _own(unit, factor_id)
    if factor.status != FactorStatus.PENDING:
        raise MfaFactorNotPending
    return factor


def _remember_proof(unit: Unit) -> None:
    """The calling session has two factors from now on."""
    session = Session.get_by_id(unit.caller.session_id)
    if "totp" not in session.auth_methods:
        session.auth_methods = [*session.auth_methods, "totp"]
    session.assurance_level = max(session.assurance_level, 2)
    session.save()


def _name_of(factor: MfaFactor) -> str:
    return f"mfaFactors/{factor.id}"
