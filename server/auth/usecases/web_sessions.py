"""Sessions of web frameworks: rows of the sessions table without a family of refresh tokens."""

from dataclasses import dataclass
from datetime import datetime

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import WebSessionExists
from server.auth.events import LoggedIn, UserChanged
from server.auth.issuing import hash_of
from server.auth.models import Session, User
from server.auth.rules import Lifetimes, RevokeReason, may_act, session_open
from server.auth.usecases.sessions import end_session
from server.auth.usecases.web_users import WEB, WebUserView, user_in_use, web_view_of
from server.core.db import locked
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class WebSessionView:
    """An open session and its user."""

    session: Session
    user: WebUserView


def create_web_session(
    unit: Unit, token: str, user_id: str, expires_at: datetime, *, lifetimes: Lifetimes
) -> Session:
    """Opens a session under the framework's own token. It is no privileged one: what the framework
    has asked its user for is not known here."""
    user = user_in_use(unit, user_id)
    if _by_token(token) is None:
        opened = _insert(unit, token, user, expires_at, lifetimes)
        if opened is not None:
            return opened
    present = _open_by_token(unit, token)
    if present is None or present.user_id != user.id:
        raise WebSessionExists
    return _set_end(unit, present, expires_at)


def _insert(
    unit: Unit, token: str, user: User, expires_at: datetime, lifetimes: Lifetimes
) -> Session | None:
    """``None`` when the token was taken this moment."""
    absolute_end = unit.now + lifetimes.absolute
    session = Session(
        user=user.id,
        session_token_hash=hash_of(token),
        expires_at=min(expires_at, absolute_end),
        absolute_expires_at=absolute_end,
        last_active_at=unit.now.replace(second=0, microsecond=0),
        auth_methods=[WEB],
        metadata={"api_key_id": unit.caller.session_id},
    )
    try:
        with unit.savepoint():
            session.save(force_insert=True)
    except peewee.IntegrityError:
        return None
    user.last_login_at = unit.now
    user.save()
    unit.audit(actions.LOG_IN, resource=f"sessions/{session.id}", actor_id=user.id, by=WEB)
    unit.emit(LoggedIn(user_id=user.id, session_id=session.id))
    unit.emit(UserChanged(user_id=user.id))
    return session


def find_web_session(unit: Unit, token: str) -> WebSessionView | None:
    """The open session of a token, with its user; ``None`` as soon as either may not go on."""
    session = _by_token(token)
    if session is None or not is_open(session, unit.now):
        return None
    user = User.get_or_none(User.id == session.user_id)
    if user is None or not may_act(user.status, user.suspended_until, unit.now):
        return None
    return WebSessionView(session, web_view_of(user, unit.now))


def set_web_session_expiry(unit: Unit, token: str, expires_at: datetime) -> Session | None:
    """Moves the end of an open session."""
    session = _open_by_token(unit, token)
    return None if session is None else _set_end(unit, session, expires_at)


def delete_web_session(unit: Unit, token: str) -> bool:
    """Ends an open session; False without one."""
    session = _open_by_token(unit, token)
    if session is None:
        return False
    end_session(unit, session, RevokeReason.LOGOUT)
    unit.audit(actions.LOG_OUT, resource=f"sessions/{session.id}", actor_id=session.user_id, by=WEB)
    return True


def is_open(session: Session, now: datetime) -> bool:
    """Whether a session may be used now, as far as it alone says."""
    return session_open(
        is_revoked=session.is_revoked,
        expires_at=session.expires_at,
        absolute_expires_at=session.absolute_expires_at,
        now=now,
    )


def _set_end(unit: Unit, session: Session, expires_at: datetime) -> Session:
    session.expires_at = min(expires_at, session.absolute_expires_at)
    session.last_active_at = unit.now.replace(second=0, microsecond=0)
    session.save()
    return session


def _by_token(token: str) -> Session | None:
    found: Session | None = Session.get_or_none(Session.session_token_hash == hash_of(token))
    return found


def _open_by_token(unit: Unit, token: str) -> Session | None:
    """The session, locked."""
    query = Session.select().where(Session.session_token_hash == hash_of(token))
    session: Session | None = locked(query).get_or_none()
    return session if session is not None and is_open(session, unit.now) else None
