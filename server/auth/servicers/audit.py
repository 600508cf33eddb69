"""AuditService: the audit log, for reading."""

from greenroom.auth.v1 import audit_service_pb2 as pb
from server.auth.convert.audit_events import events_to_pb, query_from_pb
from server.auth.usecases.audit_events import list_audit_events
from server.core.pagination import Pages
from server.wire.call import Call


class AuditServicer:
    """greenroom.auth.v1.AuditService."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def ListAuditEvents(
        self, request: pb.ListAuditEventsRequest, call: Call
    ) -> pb.ListAuditEventsResponse:
        """One page of what the caller may read."""
        return events_to_pb(list_audit_events(call.unit, self._pages, query_from_pb(request)))
