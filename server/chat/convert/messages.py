"""Messages, as they are sent, stored and listed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from greenroom.chat.v1 import channel_pb2, event_service_pb2
from greenroom.chat.v1 import message_service_pb2 as message_pb2
from server.chat.convert.encoding import field
from server.chat.errors import MessageEmpty
from server.chat.message import Rest, StoredMessage
from server.chat.rules import check_storable
from server.chat.sending import SendCommand
from server.chat.usecases.drafts import Draft
from server.chat.usecases.history import HistoryPage, HistoryQuery
from server.chat.usecases.messages import MessagePage, MessageView
from server.chat.usecases.search import SearchQuery
from server.wire.masks import checked_paths

_MICROS = 1_000_000
_TYPES = {
    name.removeprefix("MESSAGE_TYPE_"): number for name, number in channel_pb2.MessageType.items()
}
_TYPE_NAMES = {number: name for name, number in _TYPES.items()}
_TEXT = channel_pb2.MESSAGE_TYPE_TEXT

_UPDATABLE = ("text", "mentioned_user_ids")

SendRequest = message_pb2.SendMessageRequest | event_service_pb2.SendMessageCommand


def fill_message(
    message: channel_pb2.Message,
    message_id: str,
    channel_id: str,
    seq: int,
    sender_id: str,
    client_id: str,
    text: str,
    create_time: int,
    rest: Sequence[Any] | None = None,
) -> None:
    """Fills an empty ``Message``; times are in microseconds since 1970, ``rest`` is as in ``Rest``."""
    message.id = message_id
    message.channel_id = channel_id
    message.seq = seq
    message.sender_id = sender_id
    message.client_id = client_id
    message.text = text
    time = message.create_time
    time.seconds, micros = divmod(create_time, _MICROS)
    time.nanos = micros * 1000
    if rest is None:
        message.type = _TEXT
    else:
        _fill_rest(message, Rest(*rest))


def _fill_rest(message: channel_pb2.Message, rest: Rest) -> None:
    message.type = _TYPES[rest.type]
    for media_id, kind, name, content_type, size in rest.attachments or ():
        message.attachments.add(
            media_id=media_id,
            type=_TYPES[kind],
            name=name,
            content_type=content_type,
            size_bytes=size,
        )
    message.mentioned_user_ids.extend(rest.mentions or ())
    message.reply_to_id = rest.reply_to_id or ""
    message.thread_id = rest.thread_id or ""
    message.reply_count = rest.reply_count
    for emoji, count, user_ids in rest.reactions or ():
        message.reactions.add(emoji=emoji, count=count, user_ids=user_ids)
    message.change = rest.change
    if rest.edit_time is not None:
        message.edit_time.FromMicroseconds(rest.edit_time)
    if rest.delete_time is not None:
        message.delete_time.FromMicroseconds(rest.delete_time)


def message_to_bytes(
    message_id: str,
    channel_id: str,
    seq: int,
    sender_id: str,
    client_id: str,
    text: str,
    create_time: int,
    rest: Sequence[Any] | None = None,
    /,
) -> bytes:
    """``Message``, encoded."""
    message = channel_pb2.Message()
    fill_message(
        message, message_id, channel_id, seq, sender_id, client_id, text, create_time, rest
    )
    return message.SerializeToString()


def message_to_pb(channel_id: str, stored: StoredMessage) -> channel_pb2.Message:
    """A message as it was read."""
    message = channel_pb2.Message()
    fill_message(message, stored.message_id, channel_id, *stored[1:])
    return message


def view_to_pb(view: MessageView) -> channel_pb2.Message:
    """A single message."""
    return message_to_pb(view.channel_id, view.stored)


def views_to_pb(page: MessagePage) -> list[channel_pb2.Message]:
    """The messages of a page."""
    return [view_to_pb(view) for view in page.messages]


def get_response(view: MessageView) -> message_pb2.GetMessageResponse:
    """The reply of GetMessage."""
    response = message_pb2.GetMessageResponse(message=view_to_pb(view))
    for text, replaced in view.edits:
        response.earlier_texts.add(text=text).replace_time.FromDatetime(replaced)
    return response


def changes_from_pb(request: message_pb2.UpdateMessageRequest) -> Mapping[str, Any]:
    """The fields that the mask names, with their new values; raises ``InvalidFieldMask``."""
    paths = checked_paths(request.update_mask, _UPDATABLE)
    values = {
        "text": request.message.text,
        "mentioned_user_ids": tuple(request.message.mentioned_user_ids),
    }
    return {path: values[path] for path in paths}


def search_from_pb(request: message_pb2.SearchMessagesRequest) -> SearchQuery:
    """What is looked for."""
    return SearchQuery(
        text=request.query,
        channel_id=request.channel_id,
        sender_id=request.sender_id,
        start_time=_time_of(request.start_time) if request.HasField("start_time") else None,
        end_time=_time_of(request.end_time) if request.HasField("end_time") else None,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def _time_of(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def send_from_pb(request: SendRequest, sender_id: str) -> SendCommand | Draft:
    """What is to be sent; a draft when more than a text is. Raises ``TextNotStorable``,
    ``MessageEmpty``."""
    text = request.text
    check_storable("text", text)
    check_storable("client_id", request.client_id)
    plain = not (
        request.type
        or request.attachment_media_ids
        or request.reply_to_id
        or request.mentioned_user_ids
    )
    if not text and not request.attachment_media_ids:
        raise MessageEmpty
    if plain:
        return SendCommand(request.channel_id, sender_id, request.client_id, text)
    return Draft(
        SendCommand(request.channel_id, sender_id, request.client_id, text),
        _TYPE_NAMES[request.type] if request.type else None,
        tuple(request.attachment_media_ids),
        request.reply_to_id or None,
        tuple(request.mentioned_user_ids),
    )


def send_response(message: bytes) -> bytes:
    """``SendMessageResponse`` with an encoded message."""
    return field(b"\x0a", message)


def query_from_pb(request: message_pb2.ListMessagesRequest) -> HistoryQuery:
    """What is to be listed."""
    return HistoryQuery(
        channel_id=request.channel_id,
        before_seq=request.before_seq,
        after_seq=request.after_seq if request.HasField("after_seq") else None,
        around_seq=request.around_seq,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def page_to_bytes(channel_id: str, messages: Sequence[StoredMessage]) -> bytes:
    """The field ``messages`` of ``ListMessagesResponse``, encoded."""
    response = message_pb2.ListMessagesResponse()
    add = response.messages.add
    for message_id, seq, sender_id, client_id, text, create_time, rest in messages:
        fill_message(
            add(), message_id, channel_id, seq, sender_id, client_id, text, create_time, rest
        )
    return response.SerializeToString()


def page_response(page: HistoryPage) -> bytes:
    """``ListMessagesResponse``: a page of the history with the channel's cursor."""
    standing = page.standing
    response = message_pb2.ListMessagesResponse(next_page_token=page.next_page_token)
    cursor = response.cursor
    cursor.channel_id = standing.channel_id
    cursor.epoch = standing.epoch
    cursor.seq = standing.last_seq
    cursor.change = standing.last_change
    return page.messages + response.SerializeToString()
