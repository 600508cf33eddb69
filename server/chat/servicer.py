"""The chat services: they translate, the rest of the module decides."""

from collections.abc import AsyncIterator

from greenroom.chat.v1 import channel_service_pb2 as channel_pb2
from greenroom.chat.v1 import event_service_pb2 as event_pb2
from greenroom.chat.v1 import message_service_pb2 as message_pb2
from server.chat import convert, usecases
from server.chat.connect import Conversation
from server.chat.errors import SlowConsumer
from server.chat.history import HistoryReader
from server.chat.lane import Lane
from server.chat.ports import Directory
from server.chat.stream import Streams
from server.chat.typing_sign import TypingSigns
from server.core.pagination import Pages
from server.wire.call import Call


class ChannelServicer:
    """Conversations and the marks that members leave in them."""

    def __init__(self, directory: Directory, typing_signs: TypingSigns) -> None:
        self._directory = directory
        self._typing_signs = typing_signs

    def GetDirectChannel(
        self, request: channel_pb2.GetDirectChannelRequest, call: Call
    ) -> channel_pb2.GetDirectChannelResponse:
        view = usecases.get_direct_channel(
            call.unit, self._directory, call.caller.user_id, request.user_id
        )
        return convert.direct_response(view)

    def MarkRead(
        self, request: channel_pb2.MarkReadRequest, call: Call
    ) -> channel_pb2.MarkReadResponse:
        seq = usecases.mark_read(call.unit, call.caller.user_id, request.channel_id, request.seq)
        return channel_pb2.MarkReadResponse(last_read_seq=seq)

    async def SendTyping(
        self, request: channel_pb2.SendTypingRequest, call: Call
    ) -> channel_pb2.SendTypingResponse:
        await self._typing_signs.start(call, request.channel_id)
        return channel_pb2.SendTypingResponse()


class MessageServicer:
    """The messages of a conversation."""

    def __init__(self, lane: Lane, history: HistoryReader, pages: Pages) -> None:
        self._lane = lane
        self._history = history
        self._pages = pages

    async def SendMessage(self, request: message_pb2.SendMessageRequest, call: Call) -> bytes:
        sent = await self._lane.send(convert.send_from_pb(request, call.caller.user_id))
        return convert.send_response(sent.encoded)

    def ListMessages(
        self, request: message_pb2.ListMessagesRequest, call: Call
    ) -> message_pb2.ListMessagesResponse:
        page = usecases.list_messages(
            call.unit,
            self._history,
            self._pages,
            call.caller.user_id,
            convert.query_from_pb(request),
        )
        return convert.page_to_pb(page)


class EventServicer:
    """Live events."""

    def __init__(self, streams: Streams, lane: Lane, typing_signs: TypingSigns) -> None:
        self._streams = streams
        self._lane = lane
        self._typing_signs = typing_signs

    def WatchEvents(
        self, request: event_pb2.WatchEventsRequest, call: Call
    ) -> AsyncIterator[bytes]:
        call.on_stalled(SlowConsumer)
        return self._streams.open(call).replies(convert.wish_from_pb(request))

    def Connect(
        self, requests: AsyncIterator[event_pb2.ConnectRequest], call: Call
    ) -> AsyncIterator[bytes]:
        call.on_stalled(SlowConsumer)
        conversation = Conversation(
            call, self._streams.open(call), self._lane, self._typing_signs, convert.RESULTS
        )
        return conversation.replies(convert.commands_from_pb(requests, call.caller.user_id))
