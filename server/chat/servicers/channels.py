"""Conversations and the marks that members leave in them."""

from greenroom.chat.v1 import channel_service_pb2 as pb
from server.chat.convert import channels as convert
from server.chat.ports import MediaShelf
from server.chat.typing_sign import TypingSigns
from server.chat.usecases import channels
from server.chat.usecases.channel_views import view_of
from server.chat.usecases.marks import mark_read
from server.chat.usecases.members import mute_channel
from server.chat.usecases.people import People
from server.core.pagination import Pages
from server.wire.call import Call


class ChannelServicer:
    """Conversations and the marks that members leave in them."""

    def __init__(
        self, people: People, shelf: MediaShelf, pages: Pages, typing_signs: TypingSigns
    ) -> None:
        self._people = people
        self._shelf = shelf
        self._pages = pages
        self._typing_signs = typing_signs

    def CreateChannel(
        self, request: pb.CreateChannelRequest, call: Call
    ) -> pb.CreateChannelResponse:
        view = channels.create_group(
            call.unit,
            self._people,
            self._shelf,
            call.caller.user_id,
            convert.group_from_pb(request),
        )
        return pb.CreateChannelResponse(channel=convert.channel_to_pb(view))

    def GetChannel(self, request: pb.GetChannelRequest, call: Call) -> pb.GetChannelResponse:
        view = view_of(call.unit, call.caller.user_id, request.channel_id)
        return pb.GetChannelResponse(channel=convert.channel_to_pb(view))

    def ListChannels(self, request: pb.ListChannelsRequest, call: Call) -> pb.ListChannelsResponse:
        query = convert.query_from_pb(request)
        views, token = channels.list_channels(call.unit, self._pages, call.caller.user_id, query)
        return convert.channels_to_pb(views, token)

    def UpdateChannel(
        self, request: pb.UpdateChannelRequest, call: Call
    ) -> pb.UpdateChannelResponse:
        view = channels.update_group(
            call.unit,
            self._shelf,
            call.caller.user_id,
            request.channel.id,
            convert.changes_from_pb(request),
            request.channel.etag,
        )
        return pb.UpdateChannelResponse(channel=convert.channel_to_pb(view))

    def DeleteChannel(
        self, request: pb.DeleteChannelRequest, call: Call
    ) -> pb.DeleteChannelResponse:
        archived_at = channels.delete_channel(call.unit, call.caller.user_id, request.channel_id)
        return pb.DeleteChannelResponse(archive_time=convert.time_to_pb(archived_at))

    def GetDirectChannel(
        self, request: pb.GetDirectChannelRequest, call: Call
    ) -> pb.GetDirectChannelResponse:
        view = channels.get_direct_channel(
            call.unit, self._people, call.caller.user_id, request.user_id
        )
        return pb.GetDirectChannelResponse(channel=convert.channel_to_pb(view))

    def GetOrderChannel(
        self, request: pb.GetOrderChannelRequest, call: Call
    ) -> pb.GetOrderChannelResponse:
        view = channels.get_order_channel(call.unit, call.caller.user_id, request.order_id)
        return pb.GetOrderChannelResponse(channel=convert.channel_to_pb(view))

    def MuteChannel(self, request: pb.MuteChannelRequest, call: Call) -> pb.MuteChannelResponse:
        until = mute_channel(
            call.unit,
            call.caller.user_id,
            request.channel_id,
            convert.duration_from_pb(request),
        )
        return pb.MuteChannelResponse(mute_until=convert.time_to_pb(until))

    def MarkRead(self, request: pb.MarkReadRequest, call: Call) -> pb.MarkReadResponse:
        seq = mark_read(call.unit, call.caller.user_id, request.channel_id, request.seq)
        return pb.MarkReadResponse(last_read_seq=seq)

    async def SendTyping(self, request: pb.SendTypingRequest, call: Call) -> pb.SendTypingResponse:
        await self._typing_signs.start(call, request.channel_id)
        return pb.SendTypingResponse()
