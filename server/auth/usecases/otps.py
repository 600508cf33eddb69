"""Asking for one-time codes: for whom one is, and what is kept of it."""

from dataclasses import dataclass

from server.auth import audit_actions as actions
from server.auth.courier import OtpCourier
from server.auth.errors import (
    OtpSentRecently,
    PhoneNotConfigured,
    PhoneUnchanged,
    TooManyAttempts,
)
from server.auth.issuing import hash_of
from server.auth.models import Otp, Registration, User
from server.auth.rules import (
    LONGEST_USER_AGENT,
    OTP_LIFE,
    OTP_RESENT_WITHIN,
    OtpChannel,
    OtpPurpose,
    RegistrationStatus,
    new_code,
)
from server.auth.usecases.new_accounts import waits_for_its_person
from server.auth.usecases.otp_counts import count_send, subjects_of, waiting_time
from server.auth.usecases.registration import SignUp, is_settled, open_for_nobody, open_registration
from server.auth.usecases.users import may_sign_in
from server.core.errors import CredentialsInvalid, Refused
from server.core.ids import new_id, new_secret
from server.core.sealing import Keyring
from server.core.unit import Unit

LINK_PREFIX = "grl_"
"""Starts the token of every link, so that a leaked one can be recognised for what it is."""

_FIELD_OF = {OtpChannel.SMS: "phone", OtpChannel.EMAIL: "email"}


@dataclass(frozen=True, slots=True)
class OtpWish:
    """A code that is asked for; ``destination`` is folded. ``earlier_id`` names a code whose sign-up
    the new one is for."""

    purpose: OtpPurpose
    channel: OtpChannel
    destination: str
    earlier_id: str = ""


@dataclass(frozen=True, slots=True)
class OtpTarget:
    """Whom a code is for: an account, a sign-up, or nobody. With a ``session_id`` it is good while
    that session is open, and no longer."""

    user_id: str | None = None
    registration_id: str | None = None
    session_id: str | None = None


NOBODY = OtpTarget()


def code_digest(otp_id: str, code: str) -> bytes:
    """What the HMAC of a code is made of: a code means nothing beside another id."""
    return f"{otp_id}|{code}".encode()


def check_channel(courier: OtpCourier, channel: OtpChannel) -> None:
    """``PhoneNotConfigured`` where texts cannot be sent, ``OtpSenderUnavailable`` where they cannot
    at the moment. Asked before anything else, whatever the destination."""
    if channel is OtpChannel.SMS:
        if courier.sms is None:
            raise PhoneNotConfigured
        courier.sms.check_ready()


def start_otp(unit: Unit, wish: OtpWish, *, courier: OtpCourier) -> Otp | Refused:
    """Has a code sent to somebody who need not be signed in. The same work and answer for every
    destination."""
    check_channel(courier, wish.channel)
    return _open(unit, wish, _target_of(unit, wish), courier)


def start_phone_change(unit: Unit, phone: str, *, courier: OtpCourier) -> Otp | Refused:
    """Has a code sent to the number that the caller wants. ``PhoneUnchanged`` when it is theirs."""
    check_channel(courier, OtpChannel.SMS)
    # Not locked: whoever uses a code locks the code first, and then the user.
    user = User.get_or_none(User.id == unit.caller.user_id)
    if user is None:
        raise CredentialsInvalid
    if user.phone == phone and user.phone_verified_at is not None:
        raise PhoneUnchanged(field="new_phone")
    wish = OtpWish(OtpPurpose.CHANGE_PHONE, OtpChannel.SMS, phone)
    target = OtpTarget(user_id=user.id, session_id=unit.caller.session_id)
    return _open(unit, wish, target, courier)


def sign_up_by_phone(
    unit: Unit, wanted: SignUp, password_hash: str, *, courier: OtpCourier
) -> Otp | Refused:
    """Opens a sign-up and has its code sent, or nothing of both when the number has a proven owner:
    the caller cannot tell which it was."""
    check_channel(courier, OtpChannel.SMS)
    wish = OtpWish(OtpPurpose.VERIFY_PHONE, OtpChannel.SMS, wanted.phone)
    refusal = _refusal(unit, wish, NOBODY, courier.keyring, actions.SIGN_UP)
    if refusal is not None:
        return refusal
    owner = User.get_or_none(User.phone == wanted.phone)
    target = NOBODY
    if owner is not None and is_settled(owner, "phone"):
        open_for_nobody(unit, wanted, password_hash)
    else:
        registration = open_registration(unit, wanted, password_hash)
        target = OtpTarget(registration_id=registration.id)
    unit.audit(actions.SIGN_UP, resource=f"users/{owner.id}" if owner else "", result="ACCEPTED")
    return _keep(unit, wish, target, courier)


def _open(unit: Unit, wish: OtpWish, target: OtpTarget, courier: OtpCourier) -> Otp | Refused:
    refusal = _refusal(unit, wish, target, courier.keyring, actions.OTP_START)
    if refusal is not None:
        return refusal
    unit.audit(
        actions.OTP_START, resource=_resource_of(target), result="ACCEPTED", purpose=wish.purpose
    )
    return _keep(unit, wish, target, courier)


def _refusal(
    unit: Unit, wish: OtpWish, target: OtpTarget, keyring: Keyring, action: str
) -> Refused | None:
    """Why no code leaves now, if that is so; otherwise it is counted."""
    wait = waiting_time(unit, subjects_of(keyring, wish.destination, target.user_id))
    if wait > 0:
        unit.audit(action, resource=_resource_of(target), result="TOO_MANY_ATTEMPTS")
        return Refused(TooManyAttempts(retry_after=wait))
    wait = count_send(unit, keyring, wish.destination)
    if wait > 0:
        unit.audit(action, resource=_resource_of(target), result="SENT_RECENTLY")
        return Refused(OtpSentRecently(retry_after=wait))
    return None


def _keep(unit: Unit, wish: OtpWish, target: OtpTarget, courier: OtpCourier) -> Otp:
    """Makes the row and has the code sent. Codes that the destination got before are void, whatever
    they were for. A request that nothing is sent for does the same work and finds none to void."""
    voided = wish.destination if target != NOBODY else ""
    Otp.update(consumed_at=unit.now, update_time=unit.now).where(
        Otp.is_open_for(voided, unit.now)
    ).execute()
    otp_id = new_id()
    secret, kept = _secret_of(otp_id, wish, courier)
    otp = Otp.create(
        id=otp_id,
        destination=wish.destination,
        channel=wish.channel,
        purpose=wish.purpose,
        code_hash=kept,
        user=target.user_id,
        registration=target.registration_id,
        reference=unit.request_id,
        metadata={
            "ip": unit.address,
            "user_agent": unit.user_agent[:LONGEST_USER_AGENT],
            "session_id": target.session_id,
        },
        expires_at=unit.now + OTP_LIFE,
    )
    courier.enqueue(unit, otp, secret)
    return otp


def _secret_of(otp_id: str, wish: OtpWish, courier: OtpCourier) -> tuple[str, str | None]:
    """What is sent, and what is kept of it; nothing where the provider makes the code."""
    if wish.purpose is OtpPurpose.MAGIC_LINK:
        token = LINK_PREFIX + new_secret()
        return token, hash_of(token)
    if wish.channel is OtpChannel.SMS and courier.sms is not None and courier.sms.holds_codes:
        return "", None
    code = new_code()
    return code, courier.keyring.hmac("otp-codes", code_digest(otp_id, code)).hex()


def _target_of(unit: Unit, wish: OtpWish) -> OtpTarget:
    """Whom a destination stands for."""
    if wish.earlier_id:
        return _sign_up_of(unit, wish)
    kind = _FIELD_OF[wish.channel]
    user = User.by_identifier(kind, wish.destination)
    if user is None:
        return NOBODY
    verified = getattr(user, f"{kind}_verified_at") is not None
    if wish.purpose is OtpPurpose.VERIFY_PHONE:
        right = waits_for_its_person(user) and not verified
    else:
        right = verified and may_sign_in(user, unit.now)
    return OtpTarget(user_id=user.id) if right else NOBODY


def _sign_up_of(unit: Unit, wish: OtpWish) -> OtpTarget:
    """The sign-up that an earlier code to the same number was for, while it waits. By the number
    alone it would be anybody's: several may wait, and each has a password of its own."""
    earlier = Otp.get_or_none(
        (Otp.id == wish.earlier_id)
        & (Otp.destination == wish.destination)
        & (Otp.create_time > unit.now - OTP_RESENT_WITHIN)
    )
    if earlier is None or earlier.registration_id is None:
        return NOBODY
    waiting = Registration.get_or_none(
        (Registration.id == earlier.registration_id)
        & (Registration.status == RegistrationStatus.PENDING)
        & (Registration.expires_at > unit.now)
    )
    return NOBODY if waiting is None else OtpTarget(registration_id=waiting.id)


def _resource_of(target: OtpTarget) -> str:
    return "" if target.user_id is None else f"users/{target.user_id}"
