"""Audit events as their readers see them."""

import orjson

from greenroom.auth.v1 import audit_event_pb2, audit_service_pb2
from server.auth.convert.times import time_from_pb, time_to_pb
from server.auth.models import AuditEvent
from server.auth.usecases.audit_events import AuditQuery
from server.core.pagination import Page


def query_from_pb(request: audit_service_pb2.ListAuditEventsRequest) -> AuditQuery:
    """What is asked for."""
    start, end = (
        time_from_pb(getattr(request, name), name) if request.HasField(name) else None
        for name in ("start_time", "end_time")
    )
    return AuditQuery(
        actor_id=request.actor_id,
        action=request.action,
        resource=request.resource,
        result=request.result,
        start=start,
        end=end,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def event_to_pb(event: AuditEvent) -> audit_event_pb2.AuditEvent:
    """One event; what is not text among its particulars is shown as JSON."""
    details = {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in orjson.loads(event.metadata).items()
    }
    return audit_event_pb2.AuditEvent(
        id=event.id,
        create_time=time_to_pb(event.create_time),
        actor_kind=event.actor_kind,
        actor_id=event.actor_id or "",
        session_id=event.session_id or "",
        action=event.action,
        resource=event.resource,
        result=event.result,
        ip_address=event.ip,
        user_agent=event.user_agent,
        request_id=event.request_id,
        method=event.method,
        details=details,
        sequence_number=event.seq or 0,
        chain_hash=event.hash or "",
    )


def events_to_pb(page: Page[AuditEvent]) -> audit_service_pb2.ListAuditEventsResponse:
    """One page of events."""
    return audit_service_pb2.ListAuditEventsResponse(
        events=[event_to_pb(event) for event in page.items],
        next_page_token=page.next_page_token,
    )
