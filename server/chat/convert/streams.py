"""Streams: wishes and commands up, events, results and controls down.

Field 1 of every reply that holds events is ``events``, so replies are the concatenation of their events.
The two streams share the numbers of all their controls.
"""

from collections.abc import AsyncIterator, Iterable

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from greenroom.chat.v1 import channel_pb2, event_pb2, event_service_pb2
from server.chat.connect import Acknowledge, Command, MarkRead, ResultEncoder, StartTyping
from server.chat.convert.encoding import field, varint
from server.chat.convert.messages import send_from_pb
from server.chat.history import EventEncoder
from server.chat.models import Channel
from server.chat.relay import FrameEncoder
from server.chat.rules import Cursor, Wish
from server.chat.stream import StreamEncoder
from server.core.errors import GreenroomError
from server.core.fields import microseconds

WatchRequest = event_service_pb2.WatchEventsRequest | event_service_pb2.Subscribe


def wish_from_pb(request: WatchRequest) -> Wish:
    """What a subscriber asks for."""
    return Wish(
        resume_token=request.resume_token,
        channel_ids=tuple(request.channel_ids),
        cursors=_cursors_from_pb(request.cursors),
    )


def _cursors_from_pb(cursors: Iterable[channel_pb2.ChannelCursor]) -> dict[str, Cursor]:
    return {
        cursor.channel_id: Cursor(
            cursor.epoch, cursor.seq, cursor.change if cursor.HasField("change") else None
        )
        for cursor in cursors
    }


async def commands_from_pb(
    requests: AsyncIterator[event_service_pb2.ConnectRequest], sender_id: str
) -> AsyncIterator[tuple[int, Command | GreenroomError]]:
    """The commands of a stream with their numbers; what cannot be one is its error."""
    async for request in requests:
        try:
            yield request.command_id, _command_from_pb(request, sender_id)
        except GreenroomError as error:
            yield request.command_id, error


def _command_from_pb(request: event_service_pb2.ConnectRequest, sender_id: str) -> Command:
    match request.WhichOneof("command"):
        case "subscribe":
            return wish_from_pb(request.subscribe)
        case "send":
            return send_from_pb(request.send, sender_id)
        case "read":
            return MarkRead(request.read.channel_id, request.read.seq)
        case "typing":
            return StartTyping(request.typing.channel_id)
        case _:
            cursors = _cursors_from_pb(request.ack.cursors)
            return Acknowledge({key: cursor.seq for key, cursor in cursors.items()})


def message_event(channel_id: str, epoch: int, seq: int, message: bytes) -> bytes:
    """A frame: ``ChatEvent`` with an encoded message, as field 1 of a reply."""
    key = channel_id.encode()
    event = b"".join(
        (
            b"\x0a",
            varint(len(key)),
            key,
            b"\x10",
            varint(epoch),
            b"\x18",
            varint(seq),
            b"\x22",
            varint(len(message)),
            message,
        )
    )
    return field(b"\x0a", event)


def _event(event: event_pb2.ChatEvent) -> bytes:
    return field(b"\x0a", event.SerializeToString())


def _gap_event(channel_id: str, epoch: int, first_seq: int) -> bytes:
    gap = event_pb2.Gap(first_seq=first_seq)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, gap=gap))


def _read_event(channel_id: str, epoch: int, user_id: str, seq: int, unread_from: int) -> bytes:
    read = event_pb2.ReadMark(user_id=user_id, seq=seq, unread_from_seq=unread_from)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, read=read))


def _typing_event(channel_id: str, epoch: int, user_id: str) -> bytes:
    typing = event_pb2.Typing(user_id=user_id)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, typing=typing))


def _delivered_event(channel_id: str, epoch: int, user_id: str, seq: int) -> bytes:
    delivered = event_pb2.DeliveryMark(user_id=user_id, seq=seq)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, delivered=delivered))


def _changed_event(channel_id: str, epoch: int, change: int, message: bytes) -> bytes:
    changed = channel_pb2.Message.FromString(message)
    return _event(
        event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, changed=changed, change=change)
    )


def _channel_event(row: Channel, change: int) -> bytes:
    info = event_pb2.ChannelInfo(
        title=row.title,
        description=row.description,
        avatar_media_id=row.avatar_media_id or "",
        blocked=row.blocked,
    )
    if row.archived_at is not None:
        info.archive_time.FromMicroseconds(microseconds(row.archived_at))
    return _event(
        event_pb2.ChatEvent(channel_id=row.id, epoch=row.epoch, channel=info, change=change)
    )


def _member_event(channel_id: str, epoch: int, change: int, user_id: str, role: str) -> bytes:
    member = event_pb2.MemberChange(user_id=user_id)
    if role:
        member.role = channel_pb2.MemberRole.Value(f"MEMBER_ROLE_{role}")
    return _event(
        event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, member=member, change=change)
    )


def _ended_event(channel_id: str, epoch: int) -> bytes:
    ended = event_pb2.MembershipEnded()
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, ended=ended))


def _heartbeat(resume_token: str) -> bytes:
    heartbeat = event_pb2.Heartbeat(resume_token=resume_token)
    return event_service_pb2.WatchEventsResponse(heartbeat=heartbeat).SerializeToString()


def _end(reason: str, resume_token: str, seconds: float) -> bytes:
    end = event_pb2.End(
        reason=event_pb2.EndReason.Value(f"END_REASON_{reason}"),
        resume_token=resume_token,
        retry_delay=Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)),
    )
    return event_service_pb2.WatchEventsResponse(end=end).SerializeToString()


def _result(result: event_service_pb2.CommandResult) -> bytes:
    return event_service_pb2.ConnectResponse(result=result).SerializeToString()


def _result_message(command_id: int, message: bytes) -> bytes:
    # ConnectResponse.result (4) with command_id (1) and message (2).
    number = b"\x08" + varint(command_id) if command_id else b""
    return field(b"\x22", number + field(b"\x12", message))


def _result_done(command_id: int) -> bytes:
    done = event_service_pb2.Done()
    return _result(event_service_pb2.CommandResult(command_id=command_id, done=done))


def _result_error(command_id: int, error: GreenroomError) -> bytes:
    told = event_service_pb2.CommandError(
        code=code_pb2.Code.Value(error.code),
        reason=error.reason,
        message=error.text,
        field=error.violations[0].field if error.violations else "",
    )
    return _result(event_service_pb2.CommandResult(command_id=command_id, error=told))


FRAMES = FrameEncoder(
    message=message_event, read=_read_event, delivered=_delivered_event, typing=_typing_event
)
EVENTS = EventEncoder(
    message=message_event, changed=_changed_event, channel=_channel_event, member=_member_event
)
STREAM = StreamEncoder(
    gap=_gap_event,
    read=_read_event,
    delivered=_delivered_event,
    ended=_ended_event,
    heartbeat=_heartbeat,
    end=_end,
)
RESULTS = ResultEncoder(message=_result_message, done=_result_done, error=_result_error)
