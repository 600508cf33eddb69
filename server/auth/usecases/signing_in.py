"""How every way in ends: with an open session, or with the demand for a second factor.

Password, one-time code, provider and passkey each prove who somebody is in a way of their own; what
follows from the proof is decided here, once.
"""

from dataclasses import dataclass
from datetime import datetime

from server.auth import audit_actions as actions
from server.auth.events import LoggedIn, UserChanged
from server.auth.issuing import Device, IssuedTokens, TokenIssuer, hash_of
from server.auth.models import MfaChallenge, MfaFactor, RecoveryCode, RefreshToken, Session, User
from server.auth.outbox import Outbox
from server.auth.rules import (
    LONGEST_USER_AGENT,
    MFA_CHALLENGE_LIFE,
    CodeKind,
    assurance_of,
    is_multi_factor,
)
from server.auth.usecases.endings import make_room
from server.auth.usecases.new_devices import tell_of_new_device
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.users import UserView, rights_of, view_of
from server.core.ids import new_id, new_secret
from server.core.sealing import Keyring
from server.core.unit import Unit

CHALLENGE_PREFIX = "grm_"
"""Starts every challenge token, so that a leaked one can be recognised for what it is."""


@dataclass(frozen=True, slots=True)
class SignInDesk:
    """What signing in needs beside the unit."""

    issuer: TokenIssuer
    keyring: Keyring
    outbox: Outbox


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """An opened session, its tokens and its user."""

    session: Session
    tokens: IssuedTokens
    user: UserView


@dataclass(frozen=True, slots=True)
class SecondFactorNeeded:
    """The first factor was proven; ``methods`` are the kinds of second factor to choose from."""

    challenge_token: str
    methods: tuple[str, ...]
    expires: datetime


SignInOutcome = SignedInUser | SecondFactorNeeded


def finish_sign_in(
    unit: Unit, user: User, device: Device, *, desk: SignInDesk, method: str
) -> SignInOutcome:
    """What comes of a proven factor. The caller has made sure that the account may act.

    ``method`` names the factor as sessions remember it (``password``, ``otp``, ``passkey`` or the
    name of a provider). A passkey that was used with user verification is two factors in itself;
    after any other a user who has a second factor is asked for it.
    """
    # Locked, so that a factor that is activated this moment is either seen here, or sees the session
    # that is opened and takes its privilege away.
    locked_user(user.id)
    if not is_multi_factor(method) and MfaFactor.guards(user.id):
        return _ask_for_second_factor(unit, user, device, method)
    return begin_session(unit, user, device, desk=desk, methods=[method])


def _ask_for_second_factor(
    unit: Unit, user: User, device: Device, method: str
) -> SecondFactorNeeded:
    token = CHALLENGE_PREFIX + new_secret()
    challenge = MfaChallenge.create(
        user=user.id,
        token_hash=hash_of(token),
        method=method,
        device_info=device.name,
        ip=device.address,
        user_agent=device.user_agent[:LONGEST_USER_AGENT],
        expires_at=unit.now + MFA_CHALLENGE_LIFE,
    )
    unit.audit(
        actions.LOG_IN,
        resource=f"users/{user.id}",
        result="SECOND_FACTOR_NEEDED",
        actor_id=user.id,
        by=method,
    )
    kinds = [CodeKind.TOTP, CodeKind.BACKUP_CODE]
    if not RecoveryCode.left_for(user.id).exists():
        kinds.pop()
    return SecondFactorNeeded(token, tuple(kinds), challenge.expires_at)


def begin_session(
    unit: Unit, user: User, device: Device, *, desk: SignInDesk, methods: list[str]
) -> SignedInUser:
    """Signs in somebody who has proven all the factors that were to be proven."""
    tell_of_new_device(unit, user, device, desk.outbox)
    user.last_login_at = unit.now
    user.save()
    session, tokens = open_session(unit, user, device, desk=desk, methods=methods)
    unit.audit(
        actions.LOG_IN,
        resource=f"sessions/{session.id}",
        actor_id=user.id,
        by="+".join(methods),
    )
    unit.emit(LoggedIn(user_id=user.id, session_id=session.id))
    unit.emit(UserChanged(user_id=user.id))
    return SignedInUser(session, tokens, view_of(user))


def open_session(
    unit: Unit, user: User, device: Device, *, desk: SignInDesk, methods: list[str]
) -> tuple[Session, IssuedTokens]:
    """Opens a session for a user who has proven who they are, with the first token of its
    family."""
    issuer = desk.issuer
    lifetimes = issuer.lifetimes
    absolute_end = unit.now + lifetimes.absolute
    make_room(unit, user.id, lifetimes.session_limit)
    session = Session(
        user=user.id,
        device_info=device.name,
        ip=device.address,
        user_agent=device.user_agent[:LONGEST_USER_AGENT],
        expires_at=lifetimes.session_end(unit.now, absolute_end),
        absolute_expires_at=absolute_end,
        last_active_at=unit.now.replace(second=0, microsecond=0),
        # Address and user agent move on with each refresh; this stays.
        metadata={"sign_in_ip": device.address},
        refresh_token_family=new_id(),
        auth_methods=methods,
        assurance_level=assurance_of(methods),
        # Whoever gets here has proven a factor this moment, and a second one where there is one.
        privileged_until=unit.now + lifetimes.step_up,
    )
    secret = issuer.new_refresh_secret()
    roles, _ = rights_of(user.id)
    tokens = issuer.tokens_of(session, secret, session.expires_at, unit.now, roles=roles)
    session.save(force_insert=True)
    RefreshToken.create(
        session=session.id,
        family=session.refresh_token_family,
        token_hash=hash_of(secret),
        expires_at=session.expires_at,
    )
    return session, tokens
