"""What a session is trusted with: raised by a fresh factor, lowered when factors change."""

from datetime import datetime

from server.auth.events import PrivilegeChanged
from server.auth.models import Session
from server.core.db import locked
from server.core.unit import Unit


def change_privilege(unit: Unit, session: Session, until: datetime | None) -> None:
    """Trusts a session with risky calls until then, or no longer. From the commit on every process
    sees it: this one at once, others within a second; streams go on."""
    session.privileged_until = until
    session.privilege_changed_at = unit.now
    session.save()
    unit.emit(PrivilegeChanged(session.id, session.user_id))


def lower_other_sessions(unit: Unit) -> None:
    """Takes from the caller's other sessions what an older, weaker proof had brought them."""
    others = Session.open_for(unit.caller.user_id, unit.now).where(
        (Session.id != unit.caller.session_id) & (Session.privileged_until > unit.now)
    )
    for session in list(locked(others.order_by(Session.id))):
        change_privilege(unit, session, None)
