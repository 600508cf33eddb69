"""Sessions and their tokens: how long they live and what they are worth."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class RevokeReason(StrEnum):
    """Why a session ended before its time."""

    LOGOUT = "LOGOUT"
    REVOKED = "REVOKED"
    REUSE = "REUSE"
    ADMIN = "ADMIN"
    RECLAIMED = "RECLAIMED"
    PASSWORD_CHANGE = "PASSWORD_CHANGE"
    LIMIT = "LIMIT"
    DELETED = "DELETED"


class RefreshVerdict(StrEnum):
    """What a presented refresh token is worth."""

    LIVE = "LIVE"
    RETRY = "RETRY"
    EXPIRED = "EXPIRED"
    REUSED = "REUSED"


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
    step_up: timedelta = timedelta(minutes=10)
    """For how long after a fresh factor a session may make the calls that demand one."""

    session_limit: int = 50
    """How many sessions of a user may be open; for one more the longest unused ends."""

    def session_end(self, now: datetime, absolute_end: datetime) -> datetime:
        """When a session that is used now ends unless it is used again."""
        return min(now + self.sliding, absolute_end)

    def access_end(self, now: datetime, session_end: datetime) -> datetime:
        """When an access token made now ends: with its session at the latest."""
        return min(now + self.access, session_end)


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
