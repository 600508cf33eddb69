"""How many tries and mails there may be."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


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


RESETS_PER_HOUR = 3
"""Mails with a token for a new password that leave for one address; they have a count of their own."""


def after_send(
    recent: Sequence[datetime], now: datetime, *, spaced: bool, most: int = SENDS_PER_HOUR
) -> tuple[datetime, ...] | None:
    """The sends to one address within the last hour, this one included; ``None`` when it must not
    leave: at most five an hour, or ``most``, and one a minute where they have to be ``spaced``."""
    lately = tuple(sent for sent in recent if sent > now - timedelta(hours=1))
    last_minute = sum(1 for sent in lately if sent > now - timedelta(minutes=1))
    if len(lately) >= most or (spaced and last_minute >= SENDS_PER_MINUTE):
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
