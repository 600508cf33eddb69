"""The messages of a conversation."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from greenroom.chat.v1 import message_service_pb2 as message_pb2
from server.chat.convert import messages as convert
from server.chat.lane import Lane
from server.chat.ports import MediaShelf
from server.chat.usecases import messages
from server.chat.usecases.drafts import Draft, complete
from server.chat.usecases.history import HistoryDesk, list_messages
from server.chat.usecases.search import search_messages
from server.wire.call import Call


@dataclass(frozen=True, slots=True)
class MessageTerms:
    """What the servicer is told of its server."""

    database_kind: str
    edit_window_seconds: int


class MessageServicer:
    """The messages of a conversation."""

    def __init__(
        self,
        lane: Lane,
        desk: HistoryDesk,
        shelf: MediaShelf,
        terms: MessageTerms,
    ) -> None:
        self._lane = lane
        self._shelf = shelf
        self._desk = desk
        self._pages = desk.pages
        self._terms = terms

    async def SendMessage(self, request: message_pb2.SendMessageRequest, call: Call) -> bytes:
        command = convert.send_from_pb(request, call.caller.user_id)
        if isinstance(command, Draft):
            command = await call.run(
                partial(complete, shelf=self._shelf, draft=command), write=False
            )
        sent = await self._lane.send(command)
        return convert.send_response(sent.encoded)

    async def ListMessages(self, request: message_pb2.ListMessagesRequest, call: Call) -> bytes:
        query = convert.query_from_pb(request)
        page = await list_messages(self._desk, call.caller.user_id, query, call.deadline)
        return convert.page_response(page)

    def GetMessage(
        self, request: message_pb2.GetMessageRequest, call: Call
    ) -> message_pb2.GetMessageResponse:
        view = messages.get_message(
            call.unit,
            call.caller.user_id,
            request.message_id,
            include_edits=request.include_edits,
        )
        return convert.get_response(view)

    def UpdateMessage(
        self, request: message_pb2.UpdateMessageRequest, call: Call
    ) -> message_pb2.UpdateMessageResponse:
        view = messages.update_message(
            call.unit,
            call.caller.user_id,
            request.message.id,
            convert.changes_from_pb(request),
            etag=request.etag,
            window=timedelta(seconds=self._terms.edit_window_seconds),
        )
        return message_pb2.UpdateMessageResponse(message=convert.view_to_pb(view))

    def DeleteMessage(
        self, request: message_pb2.DeleteMessageRequest, call: Call
    ) -> message_pb2.DeleteMessageResponse:
        view = messages.delete_message(call.unit, call.caller.user_id, request.message_id)
        return message_pb2.DeleteMessageResponse(message=convert.view_to_pb(view))

    def ListReplies(
        self, request: message_pb2.ListRepliesRequest, call: Call
    ) -> message_pb2.ListRepliesResponse:
        page = messages.list_replies(
            call.unit,
            self._pages,
            call.caller.user_id,
            request.message_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return message_pb2.ListRepliesResponse(
            messages=convert.views_to_pb(page), next_page_token=page.next_page_token
        )

    def SearchMessages(
        self, request: message_pb2.SearchMessagesRequest, call: Call
    ) -> message_pb2.SearchMessagesResponse:
        page = search_messages(
            call.unit,
            self._terms.database_kind,
            self._pages,
            call.caller.user_id,
            convert.search_from_pb(request),
        )
        return message_pb2.SearchMessagesResponse(
            messages=convert.views_to_pb(page), next_page_token=page.next_page_token
        )
