"""Deletes what has served its time, in small transactions, so that nobody waits for it."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from server.auth.models import (
    ApiKey,
    ContactSend,
    LoginAttempt,
    MfaChallenge,
    MfaFactor,
    OAuthAuthorization,
    Otp,
    OtpTries,
    PasskeyChallenge,
    RefreshToken,
    Registration,
    Session,
    VerificationToken,
)
from server.auth.rules import ACCOUNT_LIMIT, OTP_LIMIT, OTP_RESENT_WITHIN, RegistrationStatus
from server.auth.usecases.user_status import lift_suspensions
from server.core.unit import Unit

KEEP_ENDED_SESSIONS = timedelta(days=30)
"""How long an ended session, or an ended key, stays on record."""

BATCH = 1000
"""Rows that one transaction touches at most."""

Step = Callable[[Unit], int]


def steps(grace: timedelta) -> Iterator[Step]:
    """Units that each delete or blank up to ``BATCH`` rows and say how many; each is run until it
    finds fewer. ``grace`` is how long a spent refresh token still carries its successor."""
    yield lambda unit: _delete(OAuthAuthorization, OAuthAuthorization.expires_at < unit.now)
    yield lambda unit: _delete(VerificationToken, VerificationToken.expires_at < unit.now)
    yield lambda unit: _delete(
        Registration,
        (Registration.expires_at < unit.now)
        & (Registration.status != RegistrationStatus.ACTIVATED),
    )
    yield lambda unit: _delete(MfaChallenge, MfaChallenge.expires_at < unit.now)
    yield lambda unit: _delete(MfaFactor, MfaFactor.expires_at < unit.now)
    yield lambda unit: lift_suspensions(unit, BATCH)
    yield lambda unit: _delete(RefreshToken, RefreshToken.expires_at < unit.now)
    yield lambda unit: _forget_successors(unit.now - grace)
    yield lambda unit: _delete(Session, _long_ended(unit.now - KEEP_ENDED_SESSIONS))
    yield lambda unit: _delete(
        ApiKey,
        (ApiKey.expires_at < unit.now - KEEP_ENDED_SESSIONS)
        | (ApiKey.revoked_at < unit.now - KEEP_ENDED_SESSIONS),
    )
    yield lambda unit: _delete(
        LoginAttempt, LoginAttempt.update_time < unit.now - 2 * ACCOUNT_LIMIT.forget_blocked_after
    )
    yield lambda unit: _delete(Otp, Otp.create_time < unit.now - OTP_RESENT_WITHIN)
    yield lambda unit: _delete(
        OtpTries, OtpTries.update_time < unit.now - 2 * OTP_LIMIT.forget_blocked_after
    )
    yield lambda unit: _delete(PasskeyChallenge, PasskeyChallenge.expires_at < unit.now)
    yield lambda unit: _delete(ContactSend, ContactSend.update_time < unit.now - timedelta(hours=2))


def _long_ended(before: datetime) -> Any:
    return (
        (Session.expires_at < before)
        | (Session.absolute_expires_at < before)
        | (Session.revoked_at < before)
    )


def _delete(model: Any, condition: Any) -> int:
    key = model._meta.primary_key
    doomed = model.select(key).where(condition).limit(BATCH)
    return int(model.delete().where(key.in_(doomed)).execute())


def _forget_successors(before: datetime) -> int:
    """A successor's secret is of use only within the grace; after it there is no reason to keep
    it."""
    spent = (
        RefreshToken.select(RefreshToken.id)
        .where(RefreshToken.successor_sealed.is_null(False) & (RefreshToken.used_at < before))
        .limit(BATCH)
    )
    return int(
        RefreshToken.update(successor_sealed=None).where(RefreshToken.id.in_(spent)).execute()
    )
