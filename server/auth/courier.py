"""Sends one-time codes: by a job that is enqueued for every request for one, so that a request for a
destination that nobody has looks like any other. The job alone sees whether there is somebody."""

import logging
from dataclasses import dataclass
from functools import partial

from server.auth.mails import code_mail, magic_link_mail
from server.auth.models import Otp, Registration, User
from server.auth.outbox import Outbox
from server.auth.rules import OTP_LIFE, OtpChannel, OtpPurpose
from server.auth.sms_port import CodeText, SmsRefused, SmsSender
from server.core.jobs import JobRun
from server.core.sealing import Keyring
from server.core.unit import Unit

logger = logging.getLogger(__name__)

JOB = "auth.otp"

_MINUTES = int(OTP_LIFE.total_seconds()) // 60


@dataclass(frozen=True, slots=True)
class OtpCourier:
    """Enqueues what is to be sent, and sends it when its job runs. Without an ``sms`` there are no
    codes to phones."""

    keyring: Keyring
    outbox: Outbox
    public_url: str
    sms: SmsSender | None

    def enqueue(self, unit: Unit, otp: Otp, secret: str) -> None:
        """Has a code or a token sent once the unit is committed. Sealed, since the database holds
        nothing that could be used."""
        sealed = self.keyring.seal(secret.encode(), _place_of(otp.id))
        unit.enqueue(JOB, {"id": otp.id, "sealed": sealed})

    def deliver(self, run: JobRun) -> None:
        """The job."""
        otp_id: str = run.arguments["id"]
        secret = self.keyring.open(run.arguments["sealed"], _place_of(otp_id)).decode()
        otp = run.run(partial(_awaited, otp_id=otp_id), write=False)
        if otp is None:
            return
        if otp.channel == OtpChannel.EMAIL:
            run.run(partial(self._mail, run=run, otp=otp, secret=secret))
        else:
            self._text(run, otp, secret)

    def _mail(self, unit: Unit, run: JobRun, otp: Otp, secret: str) -> None:
        run.guard(unit)
        language = _language_of(otp)
        if otp.purpose == OtpPurpose.MAGIC_LINK:
            address = str((otp.metadata or {}).get("ip", ""))
            mail = magic_link_mail(
                otp.destination,
                language,
                self.public_url,
                secret,
                address,
                otp.create_time,
                _MINUTES,
            )
        else:
            mail = code_mail(otp.destination, language, secret, _MINUTES)
        self.outbox.enqueue(unit, mail)

    def _text(self, run: JobRun, otp: Otp, code: str) -> None:
        """Texts the code outside of any transaction, then notes by what the provider knows it. A
        text that is sent twice, because the job died in between, is the same code."""
        if self.sms is None:
            return  # It was asked for by a process with other settings.
        text = run.run(partial(_text_of, otp=otp, code=code), write=False)
        try:
            sid = self.sms.send(text)
        except SmsRefused as refusal:
            logger.warning("code %s cannot be texted: %s", otp.id, refusal)
            noted = {**(otp.metadata or {}), "refused": str(refusal)}
            run.run(partial(_note, otp_id=otp.id, metadata=noted))
            return
        run.run(partial(_note, otp_id=otp.id, verification_sid=sid or None))


def _awaited(unit: Unit, otp_id: str) -> Otp | None:
    """The code, unless there is nobody to send it to, or it is of no use any more."""
    otp: Otp | None = Otp.get_or_none(Otp.id == otp_id)
    return otp if otp is not None and otp.has_target and otp.is_open(unit.now) else None


def _language_of(otp: Otp) -> str:
    if otp.user_id is not None:
        user = User.get_or_none(User.id == otp.user_id)
        return "" if user is None else str(user.language)
    sign_up = Registration.get_or_none(Registration.id == otp.registration_id)
    return "" if sign_up is None else str(sign_up.language)


def _text_of(unit: Unit, otp: Otp, code: str) -> CodeText:
    """The text, and which code the provider is to forget for it."""
    earlier = (
        Otp.select()
        .where(
            (Otp.destination == otp.destination)
            & (Otp.id < otp.id)
            & Otp.verification_sid.is_null(False)
            & (Otp.verified == False)  # noqa: E712
            & (Otp.expires_at > unit.now)
        )
        .order_by(Otp.id.desc())
        .first()
    )
    return CodeText(
        to=otp.destination,
        language=_language_of(otp),
        minutes=_MINUTES,
        message_id=otp.id,
        code=code,
        replaces="" if earlier is None else earlier.verification_sid,
    )


def _note(unit: Unit, otp_id: str, **values: object) -> None:
    Otp.update(update_time=unit.now, **values).where(Otp.id == otp_id).execute()


def _place_of(otp_id: str) -> str:
    return f"jobs|{JOB}|{otp_id}"
