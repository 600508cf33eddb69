"""Reading the audit log."""

from dataclasses import dataclass
from datetime import datetime

from server.auth.models import AuditEvent
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which events are listed; what is empty does not narrow the list down."""

    actor_id: str = ""
    action: str = ""
    resource: str = ""
    result: str = ""
    start: datetime | None = None
    end: datetime | None = None
    page_size: int = 0
    page_token: str = ""


def list_audit_events(unit: Unit, pages: Pages, query: AuditQuery) -> Page[AuditEvent]:
    """Events that the caller may read, newest first, from ``start`` on and before ``end``."""
    found = AuditEvent.within_reach_of(unit.caller)
    scope = {"list": "audit_events", "reader": unit.caller.user_id}
    for name in ("actor_id", "action", "resource", "result"):
        value = getattr(query, name)
        scope[name] = value
        if value:
            found = found.where(getattr(AuditEvent, name) == value)
    scope["start"] = "" if query.start is None else query.start.isoformat()
    scope["end"] = "" if query.end is None else query.end.isoformat()
    if query.start is not None:
        found = found.where(AuditEvent.create_time >= query.start)
    if query.end is not None:
        found = found.where(AuditEvent.create_time < query.end)
    return paginate(
        pages,
        found,
        order=[
            Order(AuditEvent.create_time, descending=True),
            Order(AuditEvent.id, descending=True),
        ],
        page_size=query.page_size,
        page_token=query.page_token,
        scope=scope,
    )
