"""Live events."""

from collections.abc import AsyncIterator

from greenroom.chat.v1 import event_service_pb2 as event_pb2
from server.chat.connect import Conversation
from server.chat.convert import streams as convert
from server.chat.errors import SlowConsumer
from server.chat.lane import Lane
from server.chat.ports import MediaShelf
from server.chat.stream import Streams
from server.chat.typing_sign import TypingSigns
from server.wire.call import Call


class EventServicer:
    """Live events."""

    def __init__(
        self, streams: Streams, lane: Lane, typing_signs: TypingSigns, shelf: MediaShelf
    ) -> None:
        self._shelf = shelf
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
            call,
            self._streams.open(call),
            self._lane,
            self._typing_signs,
            self._shelf,
            convert.RESULTS,
        )
        return conversation.replies(convert.commands_from_pb(requests, call.caller.user_id))
