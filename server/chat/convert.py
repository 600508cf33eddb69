"""Between what the chat knows and what goes over the wire.

A message is encoded once. The reply to its sender, the event of every subscriber and the replies that
hold many events are made of these bytes by prefixing them: field 1 of every reply that holds events is
``events``, so replies are the concatenation of their events. The two streams share the numbers of all
their controls.
"""

from collections.abc import AsyncIterator

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from greenroom.chat.v1 import channel_pb2, channel_service_pb2, event_pb2, event_service_pb2
from greenroom.chat.v1 import message_service_pb2 as message_pb2
from server.chat.connect import Acknowledge, Command, MarkRead, ResultEncoder, StartTyping
from server.chat.relay import FrameEncoder
from server.chat.rules import Cursor, Wish, check_storable
from server.chat.sending import SendCommand
from server.chat.stream import StreamEncoder
from server.chat.usecases import ChannelView, HistoryPage, HistoryQuery
from server.core.errors import GreenroomError
from server.core.fields import microseconds

_MICROS = 1_000_000

SendRequest = message_pb2.SendMessageRequest | event_service_pb2.SendMessageCommand
WatchRequest = event_service_pb2.WatchEventsRequest | event_service_pb2.Subscribe


# Messages


def _fill(
    message: channel_pb2.Message,
    message_id: str,
    channel_id: str,
    seq: int,
    sender_id: str,
    client_id: str,
    text: str,
    create_time: int,
) -> None:
    message.id = message_id
    message.channel_id = channel_id
    message.seq = seq
    message.sender_id = sender_id
    message.client_id = client_id
    message.text = text
    time = message.create_time
    time.seconds, micros = divmod(create_time, _MICROS)
    time.nanos = micros * 1000


def message_to_bytes(
    message_id: str,
    channel_id: str,
    seq: int,
    sender_id: str,
    client_id: str,
    text: str,
    create_time: int,
    /,
) -> bytes:
    """``Message``, encoded; the time is in microseconds since 1970."""
    message = channel_pb2.Message()
    _fill(message, message_id, channel_id, seq, sender_id, client_id, text, create_time)
    return message.SerializeToString()


def send_from_pb(request: SendRequest, sender_id: str) -> SendCommand:
    """Raises ``TextNotStorable``."""
    check_storable("text", request.text)
    check_storable("client_id", request.client_id)
    return SendCommand(request.channel_id, sender_id, request.client_id, request.text)


def send_response(message: bytes) -> bytes:
    """``SendMessageResponse`` with an encoded message."""
    return _field(b"\x0a", message)


def query_from_pb(request: message_pb2.ListMessagesRequest) -> HistoryQuery:
    """What is to be listed."""
    return HistoryQuery(
        channel_id=request.channel_id,
        before_seq=request.before_seq,
        after_seq=request.after_seq if request.HasField("after_seq") else None,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def page_to_pb(page: HistoryPage) -> message_pb2.ListMessagesResponse:
    """A page of the history with the channel's cursor."""
    standing = page.standing
    response = message_pb2.ListMessagesResponse(next_page_token=page.next_page_token)
    for message_id, seq, sender_id, client_id, text, create_time in page.messages:
        _fill(
            response.messages.add(),
            message_id,
            standing.channel_id,
            seq,
            sender_id,
            client_id,
            text,
            create_time,
        )
    response.cursor.channel_id = standing.channel_id
    response.cursor.epoch = standing.epoch
    response.cursor.seq = standing.last_seq
    return response


# Channels


def channel_to_pb(view: ChannelView) -> channel_pb2.Channel:
    """A channel as its member sees it."""
    channel = view.channel
    message = channel_pb2.Channel(
        id=channel.id,
        type=channel_pb2.ChannelType.Value(f"CHANNEL_TYPE_{channel.type}"),
        epoch=channel.epoch,
        last_seq=channel.last_seq,
        last_read_seq=view.last_read_seq,
        member_ids=view.member_ids,
    )
    message.create_time.FromMicroseconds(microseconds(channel.create_time))
    return message


def direct_response(view: ChannelView) -> channel_service_pb2.GetDirectChannelResponse:
    """The reply of GetDirectChannel."""
    return channel_service_pb2.GetDirectChannelResponse(channel=channel_to_pb(view))


# Streams


def wish_from_pb(request: WatchRequest) -> Wish:
    """What a subscriber asks for."""
    return Wish(
        resume_token=request.resume_token,
        channel_ids=tuple(request.channel_ids),
        cursors={cursor.channel_id: Cursor(cursor.epoch, cursor.seq) for cursor in request.cursors},
    )


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
            return Acknowledge()


def message_event(channel_id: str, epoch: int, seq: int, message: bytes) -> bytes:
    """A frame: ``ChatEvent`` with an encoded message, as field 1 of a reply."""
    key = channel_id.encode()
    event = b"".join(
        (
            b"\x0a",
            _varint(len(key)),
            key,
            b"\x10",
            _varint(epoch),
            b"\x18",
            _varint(seq),
            b"\x22",
            _varint(len(message)),
            message,
        )
    )
    return _field(b"\x0a", event)


def _event(event: event_pb2.ChatEvent) -> bytes:
    return _field(b"\x0a", event.SerializeToString())


def _gap_event(channel_id: str, epoch: int, first_seq: int) -> bytes:
    gap = event_pb2.Gap(first_seq=first_seq)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, gap=gap))


def _read_event(channel_id: str, epoch: int, user_id: str, seq: int) -> bytes:
    read = event_pb2.ReadMark(user_id=user_id, seq=seq)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, read=read))


def _typing_event(channel_id: str, epoch: int, user_id: str) -> bytes:
    typing = event_pb2.Typing(user_id=user_id)
    return _event(event_pb2.ChatEvent(channel_id=channel_id, epoch=epoch, typing=typing))


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
    number = b"\x08" + _varint(command_id) if command_id else b""
    return _field(b"\x22", number + _field(b"\x12", message))


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


FRAMES = FrameEncoder(message=message_event, read=_read_event, typing=_typing_event)
STREAM = StreamEncoder(gap=_gap_event, read=_read_event, heartbeat=_heartbeat, end=_end)
RESULTS = ResultEncoder(message=_result_message, done=_result_done, error=_result_error)


# Bytes


def _field(tag: bytes, encoded: bytes) -> bytes:
    return tag + _varint(len(encoded)) + encoded


def _varint(value: int) -> bytes:
    """A number as protobuf writes it: base 128, the lowest group first."""
    if value < 0x80:
        return _SMALL[value]
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


_SMALL = tuple(bytes((value,)) for value in range(0x80))
