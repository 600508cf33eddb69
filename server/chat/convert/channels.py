"""Conversations."""

from greenroom.chat.v1 import channel_pb2, channel_service_pb2
from server.chat.usecases.channels import ChannelView
from server.core.fields import microseconds


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
