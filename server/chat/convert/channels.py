"""Conversations."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from greenroom.chat.v1 import channel_pb2, channel_service_pb2
from server.chat.convert.messages import message_to_pb
from server.chat.rules import check_storable
from server.chat.usecases.channel_views import ChannelView
from server.chat.usecases.channels import UPDATABLE, ChannelQuery, NewGroup
from server.core.fields import microseconds
from server.wire.masks import checked_paths

_TYPE = "CHANNEL_TYPE_"
_ROLE = "MEMBER_ROLE_"


def channel_to_pb(view: ChannelView) -> channel_pb2.Channel:
    """A channel as its member sees it."""
    channel, membership = view.channel, view.membership
    message = channel_pb2.Channel(
        id=channel.id,
        type=channel_pb2.ChannelType.Value(_TYPE + channel.type),
        epoch=channel.epoch,
        last_seq=channel.last_seq,
        last_read_seq=view.last_read_seq,
        member_ids=view.member_ids,
        title=channel.title,
        description=channel.description,
        avatar_media_id=channel.avatar_media_id or "",
        order_id=channel.order_id or "",
        ticket_id=channel.ticket_id or "",
        last_change=channel.last_change,
        member_count=view.member_count,
        own_role=channel_pb2.MemberRole.Value(_ROLE + membership.role),
        unread_count=view.unread_count,
        unread_from_seq=view.unread_from_seq,
        blocked=channel.blocked,
        etag=view.etag,
    )
    message.create_time.FromMicroseconds(microseconds(channel.create_time))
    message.update_time.FromMicroseconds(microseconds(channel.update_time))
    if membership.mute_until is not None:
        message.mute_until.FromMicroseconds(microseconds(membership.mute_until))
    if channel.archived_at is not None:
        message.archive_time.FromMicroseconds(microseconds(channel.archived_at))
    if view.last_message is not None:
        message.last_message.CopyFrom(message_to_pb(channel.id, view.last_message))
    return message


def group_from_pb(request: channel_service_pb2.CreateChannelRequest) -> NewGroup:
    """A group that is wanted."""
    check_storable("title", request.title)
    check_storable("description", request.description)
    return NewGroup(
        request.title, request.description, request.avatar_media_id, tuple(request.member_ids)
    )


def query_from_pb(request: channel_service_pb2.ListChannelsRequest) -> ChannelQuery:
    """Which channels are listed."""
    name = channel_pb2.ChannelType.Name(request.type).removeprefix(_TYPE) if request.type else ""
    return ChannelQuery(name, request.archived, request.page_size, request.page_token)


def changes_from_pb(request: channel_service_pb2.UpdateChannelRequest) -> Mapping[str, str]:
    """The fields that the mask names, with their new values."""
    paths = checked_paths(request.update_mask, UPDATABLE)
    changes = {path: getattr(request.channel, path) for path in paths}
    for path, text in changes.items():
        check_storable(f"channel.{path}", text)
    return changes


def duration_from_pb(request: channel_service_pb2.MuteChannelRequest) -> timedelta:
    """For how long a channel is muted."""
    return request.duration.ToTimedelta()


def channels_to_pb(
    views: list[ChannelView], token: str
) -> channel_service_pb2.ListChannelsResponse:
    """A page of channels."""
    return channel_service_pb2.ListChannelsResponse(
        channels=[channel_to_pb(view) for view in views], next_page_token=token
    )


def time_to_pb(time: datetime | None) -> Timestamp | None:
    """A time, if there is one."""
    if time is None:
        return None
    message = Timestamp()
    message.FromMicroseconds(microseconds(time))
    return message
