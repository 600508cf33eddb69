"""SessionService: the signed-in devices of a user."""

from greenroom.auth.v1 import session_service_pb2 as session_pb
from server.auth.convert.sessions import sessions_to_pb
from server.auth.usecases import sessions
from server.core.pagination import Pages
from server.wire.call import Call


class SessionServicer:
    """greenroom.auth.v1.SessionService."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def ListSessions(
        self, request: session_pb.ListSessionsRequest, call: Call
    ) -> session_pb.ListSessionsResponse:
        """One page of the caller's open sessions."""
        page = sessions.list_sessions(
            call.unit,
            self._pages,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return sessions_to_pb(page, call.caller.session_id)

    def RevokeSession(
        self, request: session_pb.RevokeSessionRequest, call: Call
    ) -> session_pb.RevokeSessionResponse:
        """Ends one session."""
        sessions.revoke_session(call.unit, request.session_id)
        return session_pb.RevokeSessionResponse()

    def RevokeOtherSessions(
        self, request: session_pb.RevokeOtherSessionsRequest, call: Call
    ) -> session_pb.RevokeOtherSessionsResponse:
        """Ends all of the caller's sessions but the calling one."""
        ended = sessions.revoke_other_sessions(call.unit)
        return session_pb.RevokeOtherSessionsResponse(ended_count=ended)
