"""Who takes part in channels."""

from greenroom.chat.v1 import member_service_pb2 as pb
from server.chat.convert import members as convert
from server.chat.usecases import members
from server.chat.usecases.people import People
from server.core.pagination import Pages
from server.wire.call import Call


class MemberServicer:
    """Who takes part in channels."""

    def __init__(self, people: People, pages: Pages) -> None:
        self._people = people
        self._pages = pages

    def AddMember(self, request: pb.AddMemberRequest, call: Call) -> pb.AddMemberResponse:
        added = members.add_members(
            call.unit,
            self._people,
            call.caller.user_id,
            request.channel_id,
            request.user_ids,
        )
        return pb.AddMemberResponse(members=map(convert.member_to_pb, added))

    def UpdateMember(self, request: pb.UpdateMemberRequest, call: Call) -> pb.UpdateMemberResponse:
        asked = request.member
        member = members.update_member(
            call.unit,
            call.caller.user_id,
            asked.channel_id,
            asked.user_id,
            convert.role_from_pb(request),
            asked.etag,
        )
        return pb.UpdateMemberResponse(member=convert.member_to_pb(member))

    def RemoveMember(self, request: pb.RemoveMemberRequest, call: Call) -> pb.RemoveMemberResponse:
        members.remove_member(call.unit, call.caller.user_id, request.channel_id, request.user_id)
        return pb.RemoveMemberResponse()

    def ListMembers(self, request: pb.ListMembersRequest, call: Call) -> pb.ListMembersResponse:
        query = convert.query_from_pb(request)
        page = members.list_members(call.unit, self._pages, call.caller.user_id, query)
        return convert.members_to_pb(page)

    def LeaveChannel(self, request: pb.LeaveChannelRequest, call: Call) -> pb.LeaveChannelResponse:
        members.leave_channel(
            call.unit, self._people.directory, call.caller.user_id, request.channel_id
        )
        return pb.LeaveChannelResponse()
