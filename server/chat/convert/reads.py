"""What is read and what is not."""

from collections.abc import Sequence

from greenroom.chat.v1 import read_service_pb2 as read_pb2
from server.chat.usecases.unread import Unread


def unread_to_pb(found: Sequence[Unread]) -> read_pb2.GetUnreadCountsResponse:
    """The reply of GetUnreadCounts."""
    heard = [unread for unread in found if not unread.muted]
    return read_pb2.GetUnreadCountsResponse(
        channels=[
            read_pb2.UnreadCount(
                channel_id=unread.channel_id,
                unread_count=unread.unread,
                mention_count=unread.mentions,
                muted=unread.muted,
            )
            for unread in found
        ],
        total_count=sum(unread.unread for unread in heard),
        total_mention_count=sum(unread.mentions for unread in heard),
    )
