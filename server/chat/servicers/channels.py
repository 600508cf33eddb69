"""Conversations and the marks that members leave in them."""

from greenroom.chat.v1 import channel_service_pb2 as channel_pb2
from server.chat.convert.channels import direct_response
from server.chat.ports import Directory
from server.chat.typing_sign import TypingSigns
from server.chat.usecases.channels import get_direct_channel
from server.chat.usecases.marks import mark_read
from server.wire.call import Call


class ChannelServicer:
    """Conversations and the marks that members leave in them."""

    def __init__(self, directory: Directory, typing_signs: TypingSigns) -> None:
        self._directory = directory
        self._typing_signs = typing_signs

    def GetDirectChannel(
        self, request: channel_pb2.GetDirectChannelRequest, call: Call
    ) -> channel_pb2.GetDirectChannelResponse:
        view = get_direct_channel(call.unit, self._directory, call.caller.user_id, request.user_id)
        return direct_response(view)

    def MarkRead(
        self, request: channel_pb2.MarkReadRequest, call: Call
    ) -> channel_pb2.MarkReadResponse:
        seq = mark_read(call.unit, call.caller.user_id, request.channel_id, request.seq)
        return channel_pb2.MarkReadResponse(last_read_seq=seq)

    async def SendTyping(
        self, request: channel_pb2.SendTypingRequest, call: Call
    ) -> channel_pb2.SendTypingResponse:
        await self._typing_signs.start(call, request.channel_id)
        return channel_pb2.SendTypingResponse()
