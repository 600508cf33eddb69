"""Who is there."""

from greenroom.chat.v1 import presence_service_pb2 as presence_pb2
from server.chat.convert.presence import presences_to_pb
from server.chat.usecases.presence import PresenceDoors, get_presence
from server.wire.call import Call


class PresenceServicer:
    """Who is there."""

    def __init__(self, doors: PresenceDoors) -> None:
        self._doors = doors

    def GetPresence(
        self, request: presence_pb2.GetPresenceRequest, call: Call
    ) -> presence_pb2.GetPresenceResponse:
        found = get_presence(call.unit, self._doors, call.caller.user_id, list(request.user_ids))
        return presences_to_pb(found)
