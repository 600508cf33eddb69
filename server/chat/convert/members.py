"""Memberships."""

from greenroom.chat.v1 import channel_pb2, member_service_pb2
from server.chat.models import Member
from server.chat.usecases.members import MemberQuery
from server.chat.usecases.memberships import member_etag
from server.core.errors import InvalidArgument
from server.core.fields import microseconds
from server.core.pagination import Page
from server.wire.masks import checked_paths

_ROLE = "MEMBER_ROLE_"


def member_to_pb(member: Member) -> channel_pb2.Member:
    """A membership."""
    message = channel_pb2.Member(
        channel_id=member.channel_id,
        user_id=member.user_id,
        role=channel_pb2.MemberRole.Value(_ROLE + member.role),
        etag=member_etag(member),
    )
    message.join_time.FromMicroseconds(microseconds(member.create_time))
    return message


def role_from_pb(request: member_service_pb2.UpdateMemberRequest) -> str:
    """The role that the mask says is to be set."""
    checked_paths(request.update_mask, ("role",))
    if not request.member.role:
        raise InvalidArgument(field="member.role")
    return channel_pb2.MemberRole.Name(request.member.role).removeprefix(_ROLE)


def query_from_pb(request: member_service_pb2.ListMembersRequest) -> MemberQuery:
    """Whose members are listed."""
    return MemberQuery(request.channel_id, request.page_size, request.page_token)


def members_to_pb(page: Page[Member]) -> member_service_pb2.ListMembersResponse:
    """A page of members."""
    return member_service_pb2.ListMembersResponse(
        members=[member_to_pb(member) for member in page.items],
        next_page_token=page.next_page_token,
    )
