"""What a client has missed."""

from greenroom.chat.v1 import channel_pb2, event_pb2, sync_service_pb2
from server.chat.convert.channels import channel_to_pb
from server.chat.convert.messages import message_to_pb
from server.chat.usecases.sync import News, SyncPage

_ROLE = "MEMBER_ROLE_"


def page_to_pb(page: SyncPage, token: str, user_id: str) -> sync_service_pb2.SyncChannelsResponse:
    """A piece of what is new, for its user."""
    return sync_service_pb2.SyncChannelsResponse(
        channels=[_news_to_pb(news, user_id) for news in page.news],
        left_channel_ids=page.left,
        next_sync_token=token,
        has_more=page.has_more,
    )


def _news_to_pb(news: News, user_id: str) -> sync_service_pb2.ChannelNews:
    channel_id = news.channel_id
    epoch, seq, change = news.cursor
    message = sync_service_pb2.ChannelNews(
        channel_id=channel_id,
        reset=news.reset,
        messages=[message_to_pb(channel_id, stored) for stored in news.messages],
        changed=[message_to_pb(channel_id, stored) for stored in news.changed],
        cursor=channel_pb2.ChannelCursor(
            channel_id=channel_id, epoch=epoch, seq=seq, change=change
        ),
    )
    if news.view is not None:
        message.channel.CopyFrom(channel_to_pb(news.view))
    for member in news.members:
        added = message.members.add(user_id=member.user_id)
        if member.role:
            added.role = channel_pb2.MemberRole.Value(_ROLE + member.role)
    for mark in news.marks:
        unread_from = (mark.unread_from_seq or 0) if mark.user_id == user_id else 0
        if mark.read_seq or unread_from or mark.user_id == user_id:
            message.reads.append(
                event_pb2.ReadMark(
                    user_id=mark.user_id, seq=mark.read_seq, unread_from_seq=unread_from
                )
            )
        if mark.delivered_seq:
            message.deliveries.append(
                event_pb2.DeliveryMark(user_id=mark.user_id, seq=mark.delivered_seq)
            )
    return message
