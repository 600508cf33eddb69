"""One-time codes: what they are for, how long they are good, and how many there may be."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from server.auth.rules.attempts import AttemptLimit


class OtpPurpose(StrEnum):
    """What a code is for."""

    SIGN_IN = "SIGN_IN"
    VERIFY_PHONE = "VERIFY_PHONE"
    CHANGE_PHONE = "CHANGE_PHONE"
    MAGIC_LINK = "MAGIC_LINK"


class OtpChannel(StrEnum):
    """How a code reaches somebody."""

    SMS = "SMS"
    EMAIL = "EMAIL"


OTP_LIFE = timedelta(minutes=10)
"""How long a code is good."""

OTP_TRIES = 5
"""Tries that one code takes."""

OTP_GAP = timedelta(minutes=1)
"""How far apart codes to one destination are."""

OTPS_PER_HOUR = 5
"""Codes that leave for one destination."""

OTPS_PER_DAY = 15
"""Codes that leave for one destination within a day: five an hour without an end would be a way to
pester somebody."""

OTPS_PER_NETWORK = 30
"""Codes that leave for the requests of one network within an hour: texts cost money, and numbers
that pay their owner for each are dialled in series."""

OTPS_PER_BLOCK = 60
"""Codes that leave within an hour for numbers that differ in their last four digits only, whoever
asks: numbers that pay their owner are rented in series, and dialled from many networks."""

OTP_RESENT_WITHIN = timedelta(days=1)
"""How long after a code of a sign-up another one can be asked for by its id."""

OTP_LIMIT = AttemptLimit(
    free=10,
    first_wait=timedelta(minutes=15),
    longest_wait=timedelta(hours=1),
    forget_after=timedelta(hours=24),
    forget_blocked_after=timedelta(hours=24),
)
"""Wrong codes in a row of an account, and of a destination: 10, whatever number of codes they were
tried on, then one after waits of 15, 30, 60, 60 ... minutes: a chance of 10 in a million, and of
some 25 in a million each further day. Forgotten only by a right code or by a day without any; and
never a lock that stays."""


def new_code() -> str:
    """Six random digits."""
    return f"{secrets.randbelow(1_000_000):06d}"


def otp_open(*, consumed_at: datetime | None, expires_at: datetime, now: datetime) -> bool:
    """True while a code can be used: it was not, no newer one took its place, and it is young."""
    return consumed_at is None and expires_at > now


def block_of(phone: str) -> str:
    """What a number in E.164 has in common with its neighbours: all but its last four digits."""
    return phone[:-4]


def send_wait(
    recent: Sequence[datetime],
    now: datetime,
    *,
    most: int,
    gap: timedelta = timedelta(0),
    within: timedelta = timedelta(hours=1),
) -> float:
    """Seconds until another code may leave after those of ``recent`` times, oldest first: ``most``
    ``within`` an hour or another time, and each ``gap`` after the one before it. 0 when it may leave
    now."""
    lately = [sent for sent in recent if sent > now - within]
    free_at = now
    if len(lately) >= most:
        free_at = max(free_at, lately[-most] + within)
    if lately:
        free_at = max(free_at, lately[-1] + gap)
    return (free_at - now).total_seconds()
