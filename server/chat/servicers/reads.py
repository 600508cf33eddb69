"""What members have read, what has come to them, and what they have marked as unread."""

from greenroom.chat.v1 import read_service_pb2 as read_pb2
from server.chat.convert.reads import unread_to_pb
from server.chat.usecases.marks import mark_channel_delivered, mark_unread
from server.chat.usecases.unread import list_unread, unread_counts
from server.wire.call import Call


class ReadServicer:
    """What members have read, what has come to them, and what they have marked as unread."""

    def MarkUnread(
        self, request: read_pb2.MarkUnreadRequest, call: Call
    ) -> read_pb2.MarkUnreadResponse:
        user_id, channel_id = call.caller.user_id, request.channel_id
        mark_unread(call.unit, user_id, channel_id, request.seq)
        counts = unread_counts(call.unit, user_id, [channel_id])
        return read_pb2.MarkUnreadResponse(
            unread_from_seq=request.seq, unread_count=counts.get(channel_id, 0)
        )

    def MarkDelivered(
        self, request: read_pb2.MarkDeliveredRequest, call: Call
    ) -> read_pb2.MarkDeliveredResponse:
        user_id = call.caller.user_id
        seq = mark_channel_delivered(call.unit, user_id, request.channel_id, request.seq)
        return read_pb2.MarkDeliveredResponse(last_delivered_seq=seq)

    def GetUnreadCounts(
        self, request: read_pb2.GetUnreadCountsRequest, call: Call
    ) -> read_pb2.GetUnreadCountsResponse:
        return unread_to_pb(list_unread(call.unit, call.caller.user_id))
