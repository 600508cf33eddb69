"""How sessions end before their time: one, all of a user, and the one that makes room for a new
one."""

from server.auth.events import SessionRevoked
from server.auth.models import MfaChallenge, Session
from server.auth.rules import RevokeReason
from server.core.db import locked
from server.core.unit import Unit


def end_session(unit: Unit, session: Session, reason: RevokeReason) -> None:
    """Ends an open session and with it, since they hang on it, all its tokens."""
    session.is_revoked = True
    session.revoked_at = unit.now
    session.revoked_reason = reason
    session.update_time = unit.now
    session.save()
    unit.emit(SessionRevoked(session.id, session.user_id, reason))


def end_all_sessions(unit: Unit, user_id: str, reason: RevokeReason, *, but: str = "") -> int:
    """Ends every open session of a user, ``but`` the one with this id, and every sign-in that waits
    for a second factor; how many sessions there were."""
    MfaChallenge.delete().where(MfaChallenge.user == user_id).execute()
    ended = Session.open_for(user_id, unit.now).where(Session.id != but)
    sessions = list(locked(ended.order_by(Session.id)))
    for session in sessions:
        end_session(unit, session, reason)
    return len(sessions)


def make_room(unit: Unit, user_id: str, limit: int) -> None:
    """Ends the longest unused of a user's sessions where one more would be over the limit. The
    caller holds the user's row, so that two sign-ins at once cannot both find room."""
    if Session.open_count(user_id, unit.now) < limit:
        return
    used = Session.open_for(user_id, unit.now).order_by(Session.last_active_at, Session.id)
    sessions = list(locked(used))
    for session in sessions[: max(0, len(sessions) - limit + 1)]:
        end_session(unit, session, RevokeReason.LIMIT)
