"""The messages of a conversation."""

from functools import partial

from greenroom.chat.v1 import message_service_pb2 as message_pb2
from server.chat.convert import messages as convert
from server.chat.history import HistoryReader
from server.chat.lane import Lane
from server.chat.ports import MediaShelf
from server.chat.usecases.drafts import Draft, complete
from server.chat.usecases.history import list_messages
from server.core.pagination import Pages
from server.wire.call import Call


class MessageServicer:
    """The messages of a conversation."""

    def __init__(self, lane: Lane, history: HistoryReader, pages: Pages, shelf: MediaShelf) -> None:
        self._lane = lane
        self._shelf = shelf
        self._history = history
        self._pages = pages

    async def SendMessage(self, request: message_pb2.SendMessageRequest, call: Call) -> bytes:
        command = convert.send_from_pb(request, call.caller.user_id)
        if isinstance(command, Draft):
            command = await call.run(
                partial(complete, shelf=self._shelf, draft=command), write=False
            )
        sent = await self._lane.send(command)
        return convert.send_response(sent.encoded)

    def ListMessages(
        self, request: message_pb2.ListMessagesRequest, call: Call
    ) -> message_pb2.ListMessagesResponse:
        page = list_messages(
            call.unit,
            self._history,
            self._pages,
            call.caller.user_id,
            convert.query_from_pb(request),
        )
        return convert.page_to_pb(page)
