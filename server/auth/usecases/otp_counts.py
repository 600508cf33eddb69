"""Counts of codes that leave and of wrong ones, in the database, so that they hold over parallel
calls, several servers and restarts."""

from datetime import timedelta

from server.auth.models import ContactSend, Otp, OtpTries
from server.auth.rules import (
    OTP_GAP,
    OTP_LIMIT,
    OTPS_PER_BLOCK,
    OTPS_PER_DAY,
    OTPS_PER_HOUR,
    OTPS_PER_NETWORK,
    Tally,
    block_of,
    counted,
    network_of,
    send_wait,
    wait_of,
)
from server.core.db import locked_or_new
from server.core.fields import instant, microseconds
from server.core.sealing import Keyring
from server.core.unit import Unit


def subjects_of(keyring: Keyring, destination: str, user_id: str | None) -> tuple[str, ...]:
    """Under which keys wrong codes are counted: the destination, and the account if there is one, so
    that neither codes to several destinations nor several accounts allow for more tries. Sorted, as
    they are locked."""
    named = [f"destination:{destination}"]
    if user_id is not None:
        named.append(f"user:{user_id}")
    return tuple(sorted(keyring.hmac("otp-tries", name.encode()).hex() for name in named))


def waiting_time(unit: Unit, subjects: tuple[str, ...]) -> float:
    """Seconds until another code may be tried; 0 when one may be now."""
    rows = OtpTries.select().where(OtpTries.subject.in_(subjects))
    return max((wait_of(row.tally, unit.now) for row in rows), default=0.0)


def count_wrong(unit: Unit, subjects: tuple[str, ...]) -> float:
    """Counts one try as wrong before its code is looked at, and returns 0. Where a subject has to
    wait it counts nothing and returns the seconds."""
    rows = [_locked_row(unit, subject) for subject in subjects]
    wait = max(wait_of(row.tally, unit.now) for row in rows)
    if wait > 0:
        return wait
    for row in rows:
        row.keep(counted(row.tally, unit.now, OTP_LIMIT), unit.now)
    return 0.0


def forget_wrong(unit: Unit, subjects: tuple[str, ...]) -> None:
    """After a right code: its subjects start anew."""
    for subject in subjects:
        _locked_row(unit, subject).keep(Tally(), unit.now)


def count_send(unit: Unit, keyring: Keyring, destination: str) -> float:
    """Counts a code to a destination, asked for from the network of the call, and returns 0. Where it
    must not leave it counts nothing and returns the seconds until it may. The same work for every
    destination."""
    network = network_of(unit.address)
    limits = {
        _key(keyring, f"otp:{destination}"): (OTPS_PER_HOUR, OTP_GAP),
        _key(keyring, f"otp-network:{network}"): (OTPS_PER_NETWORK, OTP_GAP * 0),
    }
    if destination.startswith("+"):
        block = _key(keyring, f"otp-block:{block_of(destination)}")
        limits[block] = (OTPS_PER_BLOCK, OTP_GAP * 0)
    rows = {
        contact: locked_or_new(ContactSend, {"contact": contact}, update_time=unit.now)
        for contact in sorted(limits)
    }
    wait = max(
        send_wait([instant(sent) for sent in rows[contact].recent], unit.now, most=most, gap=gap)
        for contact, (most, gap) in limits.items()
    )
    # The day is told by the codes themselves, which are kept for one: the row of the destination is
    # locked, so that none is on its way that is not seen.
    wait = max(wait, _wait_of_day(unit, destination))
    if wait > 0:
        return wait
    for contact, (most, _) in limits.items():
        row = rows[contact]
        row.recent = [*row.recent, microseconds(unit.now)][-most:]
        row.update_time = unit.now
        row.save()
    return 0.0


def _wait_of_day(unit: Unit, destination: str) -> float:
    day = timedelta(days=1)
    sent = (
        Otp.select(Otp.create_time)
        .where((Otp.destination == destination) & (Otp.create_time > unit.now - day))
        .order_by(Otp.create_time)
    )
    times = [otp.create_time for otp in sent]
    return send_wait(times, unit.now, most=OTPS_PER_DAY, within=day)


def _key(keyring: Keyring, name: str) -> str:
    return keyring.hmac("contact-sends", name.encode()).hex()


def _locked_row(unit: Unit, subject: str) -> OtpTries:
    return locked_or_new(OtpTries, {"subject": subject}, update_time=unit.now)
