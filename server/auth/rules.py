"""The decisions of auth as pure functions: no database, no clock, no gRPC."""

import ipaddress
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class UserStatus(StrEnum):
    """State of an account."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    BANNED = "BANNED"
    DELETED = "DELETED"


class RegistrationStatus(StrEnum):
    """State of a sign-up; ``SUPERSEDED`` once another sign-up of the address was proven."""

    PENDING = "PENDING"
    ACTIVATED = "ACTIVATED"
    SUPERSEDED = "SUPERSEDED"
    REJECTED = "REJECTED"


class RevokeReason(StrEnum):
    """Why a session ended before its time."""

    LOGOUT = "LOGOUT"
    REVOKED = "REVOKED"
    REUSE = "REUSE"
    ADMIN = "ADMIN"
    RECLAIMED = "RECLAIMED"
    PASSWORD_CHANGE = "PASSWORD_CHANGE"
    LIMIT = "LIMIT"


class RefreshVerdict(StrEnum):
    """What a presented refresh token is worth."""

    LIVE = "LIVE"
    RETRY = "RETRY"
    EXPIRED = "EXPIRED"
    REUSED = "REUSED"


PERSONAS = ("creator", "editor", "brand", "student", "teacher")
"""The roles that a person can choose on sign-up."""

ADMIN_ROLES = frozenset({"admin", "super_admin"})

REGISTRATION_LIFE = timedelta(days=7)
"""How long an unproven sign-up waits; a new token can be asked for meanwhile."""

VERIFICATION_LIFE = timedelta(hours=24)
"""How long a mailed verification token can be used."""

MOST_LISTED_REGISTRATIONS = 3
"""Waiting sign-ups of one address that a resent mail carries tokens for, newest first."""

LONGEST_USER_AGENT = 512
"""Characters of a client's user agent that are kept."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long sessions and tokens live."""

    access: timedelta
    sliding: timedelta
    absolute: timedelta
    grace: timedelta
    """For how long after its use a refresh token still yields the successor it was traded for."""

    def session_end(self, now: datetime, absolute_end: datetime) -> datetime:
        """When a session that is used now ends unless it is used again."""
        return min(now + self.sliding, absolute_end)

    def access_end(self, now: datetime, session_end: datetime) -> datetime:
        """When an access token made now ends: with its session at the latest."""
        return min(now + self.access, session_end)


def plain_text(text: str) -> str:
    """A name as it is kept: without control characters, which have no business in one and which
    PostgreSQL refuses in part."""
    cleaned = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    return cleaned.strip()


def fold_email(email: str) -> str:
    """The form in which addresses are stored and compared."""
    return unicodedata.normalize("NFC", plain_text(email)).lower()


def fold_username(username: str) -> str:
    """The form in which user names are stored and compared."""
    return unicodedata.normalize("NFC", plain_text(username)).lower()


def name_for(display_name: str, email: str) -> str:
    """What others see of somebody who signs up: the part before the @ unless a name was given."""
    return plain_text(display_name) or email.partition("@")[0][:100]


def may_act(status: str, suspended_until: datetime | None, now: datetime) -> bool:
    """True when an account may log in and make calls; a suspension ends by itself."""
    if status == UserStatus.SUSPENDED:
        return suspended_until is not None and suspended_until <= now
    return status == UserStatus.ACTIVE


def session_open(
    *, is_revoked: bool, expires_at: datetime, absolute_expires_at: datetime, now: datetime
) -> bool:
    """True while a session may be used."""
    return not is_revoked and now < expires_at and now < absolute_expires_at


def refresh_verdict(
    *, used_at: datetime | None, expires_at: datetime, now: datetime, grace: timedelta
) -> RefreshVerdict:
    """What a refresh token is worth now. A spent one is told to be reused even when it has expired,
    so that a thief who comes late is noticed too."""
    if used_at is None:
        return RefreshVerdict.LIVE if now < expires_at else RefreshVerdict.EXPIRED
    return RefreshVerdict.RETRY if now < used_at + grace else RefreshVerdict.REUSED


@dataclass(frozen=True, slots=True)
class AttemptLimit:
    """How many failures are free, and how the wait grows after them."""

    free: int
    first_wait: timedelta
    longest_wait: timedelta
    forget_after: timedelta
    """Failures below ``free`` are forgotten after this long without another one."""
    forget_blocked_after: timedelta
    """The same once the limit was reached."""


ACCOUNT_LIMIT = AttemptLimit(
    free=5,
    first_wait=timedelta(minutes=1),
    longest_wait=timedelta(minutes=15),
    forget_after=timedelta(minutes=15),
    forget_blocked_after=timedelta(hours=12),
)
"""Tries of one identifier: 5 in 15 minutes, then one after waits of 1, 2, 4, 8, 15, 15 ... minutes:
at most about 100 guesses a day, and never a lock that stays."""

ADDRESS_LIMIT = AttemptLimit(
    free=100,
    first_wait=timedelta(minutes=1),
    longest_wait=timedelta(minutes=15),
    forget_after=timedelta(minutes=15),
    forget_blocked_after=timedelta(hours=1),
)
"""Failures from one network address over all identifiers (password spraying)."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Failures counted for one subject."""

    failures: int = 0
    last_at: datetime | None = None
    blocked_until: datetime | None = None


def wait_of(tally: Tally, now: datetime) -> float:
    """Seconds until the subject may try again; 0 when it may try now."""
    if tally.blocked_until is None or tally.blocked_until <= now:
        return 0.0
    return (tally.blocked_until - now).total_seconds()


def counted(tally: Tally, now: datetime, limit: AttemptLimit) -> Tally:
    """The tally with one more failure. A try is counted before its password is looked at and taken
    back when it proves right, so that parallel tries cannot outrun the count."""
    failures = 0 if _forgotten(tally, now, limit) else tally.failures
    failures += 1
    blocked_until = None
    if failures >= limit.free:
        doublings = min(failures - limit.free, 30)
        wait = min(limit.first_wait * 2**doublings, limit.longest_wait)
        blocked_until = now + wait
    return Tally(failures, now, blocked_until)


def forgiven(tally: Tally) -> Tally:
    """The tally with one failure taken back, for a subject that many identifiers share."""
    return Tally(max(0, tally.failures - 1), tally.last_at, None)


def _forgotten(tally: Tally, now: datetime, limit: AttemptLimit) -> bool:
    if tally.last_at is None:
        return True
    life = limit.forget_after if tally.failures < limit.free else limit.forget_blocked_after
    return now >= tally.last_at + life


SENDS_PER_MINUTE = 1
SENDS_PER_HOUR = 5


def after_send(
    recent: Sequence[datetime], now: datetime, *, spaced: bool
) -> tuple[datetime, ...] | None:
    """The sends to one address within the last hour, this one included; ``None`` when it must not
    leave: at most five an hour, and one a minute where they have to be ``spaced``."""
    lately = tuple(sent for sent in recent if sent > now - timedelta(hours=1))
    last_minute = sum(1 for sent in lately if sent > now - timedelta(minutes=1))
    if len(lately) >= SENDS_PER_HOUR or (spaced and last_minute >= SENDS_PER_MINUTE):
        return None
    return (*lately, now)


def network_of(address: str) -> str:
    """What counts as one place on the network: an IPv4 address, or an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
