"""Who is there."""

from collections.abc import Sequence

from greenroom.chat.v1 import event_pb2, presence_service_pb2
from server.chat.convert.encoding import field
from server.chat.usecases.presence import Seen
from server.core.fields import microseconds


def presence_event(
    channel_id: str, epoch: int, user_id: str, online: bool, last_online: int | None
) -> bytes:
    """A frame that tells that somebody came online or went offline."""
    presence = event_pb2.Presence(user_id=user_id, online=online)
    if last_online is not None:
        presence.last_online_time.FromMicroseconds(last_online)
    event = event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, presence=presence)
    return field(b"\x0a", event.SerializeToString())


def presences_to_pb(found: Sequence[Seen]) -> presence_service_pb2.GetPresenceResponse:
    """The reply of GetPresence."""
    response = presence_service_pb2.GetPresenceResponse()
    for seen in found:
        added = response.presences.add(user_id=seen.user_id, online=seen.online)
        if seen.last_online is not None:
            added.last_online_time.FromMicroseconds(microseconds(seen.last_online))
    return response
