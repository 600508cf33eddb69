"""Using one-time codes: count the try, have the code compared outside of any transaction, then do
what it was for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import OtpInvalid, PhoneTaken, TooManyAttempts, VerificationTokenInvalid
from server.auth.events import PhoneVerified, UserChanged
from server.auth.issuing import Device, hash_of
from server.auth.mails import phone_changed_mail
from server.auth.models import Otp, Session, User
from server.auth.rules import OTP_TRIES, OtpChannel, OtpPurpose, UserStatus
from server.auth.sms_port import SmsSender
from server.auth.usecases.new_accounts import void_invites, waits_for_its_person
from server.auth.usecases.otp_counts import count_wrong, forget_wrong, subjects_of
from server.auth.usecases.otps import code_digest
from server.auth.usecases.registration import (
    prove_phone_sign_up,
    release_phone,
    supersede_others,
)
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.signing_in import SignInDesk, SignInOutcome, finish_sign_in
from server.auth.usecases.users import may_sign_in, tell_rights_changed
from server.core.db import locked_one
from server.core.errors import Refused
from server.core.sealing import Keyring
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class OtpTry:
    """A try that was counted. ``code_hash`` is empty where the provider holds the code."""

    otp_id: str
    code_hash: str = field(repr=False)
    verification_sid: str


@dataclass(frozen=True, slots=True)
class ProvenPhone:
    """A number that was proven, and whose it is."""

    purpose: OtpPurpose
    phone: str
    moment: datetime
    user: User


OtpOutcome = SignInOutcome | ProvenPhone


class CodeChecker:
    """Compares codes: its own in constant time, those of the provider by asking it."""

    def __init__(self, keyring: Keyring, sms: SmsSender | None) -> None:
        self._keyring = keyring
        self._sms = sms
        self.compared = 0
        """How many codes were compared, for tests."""

    async def is_right(self, tried: OtpTry, code: str) -> bool:
        """Whether the code is the one. ``OtpSenderUnavailable`` when the provider does not say."""
        self.compared += 1
        if tried.code_hash:
            digest = code_digest(tried.otp_id, code)
            return self._keyring.verify_hmac("otp-codes", digest, bytes.fromhex(tried.code_hash))
        return self._sms is not None and await self._sms.check(tried.verification_sid, code)


def begin_check(unit: Unit, otp_id: str, *, keyring: Keyring) -> OtpTry | Refused:
    """Counts a try, to be committed before the code is looked at; refuses when the code is of no use
    any more, and when the account or the destination has to wait."""
    otp = locked_one(Otp, Otp.id == otp_id)
    if (
        otp is None
        or not otp.is_open(unit.now)
        or otp.attempts >= OTP_TRIES
        or otp.purpose == OtpPurpose.MAGIC_LINK
    ):
        return _refused(unit, otp)
    wait = count_wrong(unit, subjects_of(keyring, otp.destination, otp.user_id))
    if wait > 0:
        unit.audit(actions.OTP_VERIFY, resource=_resource_of(otp), result="TOO_MANY_ATTEMPTS")
        return Refused(TooManyAttempts(retry_after=wait))
    otp.attempts += 1
    otp.save()
    return OtpTry(otp.id, otp.code_hash or "", otp.verification_sid or "")


def complete_check(
    unit: Unit, tried: OtpTry, right: bool, device: Device, *, desk: SignInDesk
) -> OtpOutcome | Refused:
    """Uses a right code up and does what it was for. Of parallel calls with one code one gets here
    first; the others find it used."""
    otp = locked_one(Otp, Otp.id == tried.otp_id)
    if not right or otp is None or not otp.has_target or not otp.is_open(unit.now):
        return _refused(unit, otp)
    _use_up(unit, otp)
    forget_wrong(unit, subjects_of(desk.keyring, otp.destination, otp.user_id))
    return _FOLLOWS[OtpPurpose(otp.purpose)](unit, otp, device, desk)


def use_link(unit: Unit, token: str, device: Device, *, desk: SignInDesk) -> OtpOutcome | Refused:
    """Uses the token of a link up and signs in."""
    otp = locked_one(Otp, Otp.code_hash == hash_of(token), Otp.purpose == OtpPurpose.MAGIC_LINK)
    if otp is None or not otp.has_target or not otp.is_open(unit.now):
        return _refused(unit, otp)
    _use_up(unit, otp)
    return _sign_in(unit, otp, device, desk)


def _use_up(unit: Unit, otp: Otp) -> None:
    otp.consumed_at = unit.now
    otp.verified = True
    otp.save()


def _sign_in(unit: Unit, otp: Otp, device: Device, desk: SignInDesk) -> OtpOutcome | Refused:
    """Signs in, if the destination still is a proven one of the account."""
    kind = "phone" if otp.channel == OtpChannel.SMS else "email"
    user = locked_user(otp.user_id or "")
    if (
        user is None
        or getattr(user, kind) != otp.destination
        or getattr(user, f"{kind}_verified_at") is None
        or not may_sign_in(user, unit.now)
    ):
        return _refused(unit, otp)
    method = "magic_link" if otp.purpose == OtpPurpose.MAGIC_LINK else "otp"
    return finish_sign_in(unit, user, device, desk=desk, method=method)


def _verify_phone(unit: Unit, otp: Otp, _device: Device, _desk: SignInDesk) -> OtpOutcome | Refused:
    """Makes the account of a sign-up, or puts the one that staff made in use."""
    if otp.registration_id is None:
        return _accept_by_phone(unit, otp)
    try:
        user = prove_phone_sign_up(unit, otp.registration_id, otp.destination)
    except VerificationTokenInvalid:
        return _refused(unit, otp)
    return _proven(unit, otp, user)


def _accept_by_phone(unit: Unit, otp: Otp) -> OtpOutcome | Refused:
    """As an invitation that is accepted: the account is in use, without a password as yet."""
    user = locked_user(otp.user_id or "")
    if user is None or not waits_for_its_person(user) or user.phone != otp.destination:
        return _refused(unit, otp)
    void_invites(unit, user.id)
    user.phone_verified_at = unit.now
    user.status = UserStatus.ACTIVE
    user.save()
    supersede_others(unit, "phone", otp.destination)
    tell_rights_changed(unit, user.id)
    return _told(unit, otp, user, actions.PHONE_VERIFY)


def _change_phone(unit: Unit, otp: Otp, _device: Device, desk: SignInDesk) -> OtpOutcome | Refused:
    """Gives the account its new number, while the session that asked for it is open: whoever was
    thrown out of an account gives it no number afterwards. One that another account has and never
    proved is taken off it; a proven one stays where it is."""
    user = locked_user(otp.user_id or "")
    if user is None or not may_sign_in(user, unit.now) or not _asker_is_in(unit, otp):
        return _refused(unit, otp)
    owner = User.get_or_none((User.phone == otp.destination) & (User.id != user.id))
    if owner is not None and owner.phone_verified_at is not None:
        return _taken(unit, otp)
    former = user.phone
    user.phone = otp.destination
    user.phone_verified_at = unit.now
    try:
        with unit.savepoint():
            if owner is not None:
                release_phone(unit, owner)
            user.save()
    except peewee.IntegrityError:
        return _taken(unit, otp)
    supersede_others(unit, "phone", otp.destination)
    if user.email is not None and user.email_verified_at is not None and former != user.phone:
        mail = phone_changed_mail(
            user.email, user.language, otp.destination, unit.address, unit.now
        )
        desk.outbox.enqueue(unit, mail)
    return _told(unit, otp, user, actions.PHONE_CHANGE)


def _asker_is_in(unit: Unit, otp: Otp) -> bool:
    session_id = (otp.metadata or {}).get("session_id")
    own = Session.open_for(otp.user_id or "", unit.now)
    return bool(own.where(Session.id == session_id).exists())


def _told(unit: Unit, otp: Otp, user: User, action: str) -> ProvenPhone:
    unit.audit(action, resource=f"users/{user.id}", actor_id=user.id)
    unit.emit(PhoneVerified(user.id, otp.destination))
    unit.emit(UserChanged(user.id))
    return _proven(unit, otp, user)


def _proven(unit: Unit, otp: Otp, user: User) -> ProvenPhone:
    return ProvenPhone(OtpPurpose(otp.purpose), otp.destination, unit.now, user)


def _taken(unit: Unit, otp: Otp) -> Refused:
    """The code was right, so whoever gave it may know that the number is taken."""
    unit.audit(actions.PHONE_CHANGE, resource=_resource_of(otp), result="TAKEN")
    return Refused(PhoneTaken())


def _refused(unit: Unit, otp: Otp | None) -> Refused:
    unit.audit(actions.OTP_VERIFY, resource=_resource_of(otp), result="BAD_CODE")
    return Refused(OtpInvalid(field="code"))


def _resource_of(otp: Otp | None) -> str:
    return "" if otp is None or otp.user_id is None else f"users/{otp.user_id}"


_Follow = Callable[[Unit, Otp, Device, SignInDesk], OtpOutcome | Refused]

_FOLLOWS: dict[OtpPurpose, _Follow] = {
    OtpPurpose.SIGN_IN: _sign_in,
    OtpPurpose.VERIFY_PHONE: _verify_phone,
    OtpPurpose.CHANGE_PHONE: _change_phone,
}
