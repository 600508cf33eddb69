"""Who takes part in groups, and how."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from server.chat.errors import (
    ChannelNotFound,
    MemberNotFound,
    NotAGroup,
    OwnMembership,
    TooManyMembers,
)
from server.chat.models import ADMIN, GROUP, Channel, Member
from server.chat.ports import Directory
from server.chat.usecases.memberships import (
    Numbering,
    Reached,
    archive,
    check_member,
    depart,
    join,
    member_etag,
    members_among,
    membership_of,
    reach,
    reach_group,
)
from server.chat.usecases.people import People
from server.core.etags import check_same
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit

GROUP_MEMBERS = 1_000


class MemberQuery(NamedTuple):
    """Whose members are listed."""

    channel_id: str
    page_size: int
    page_token: str


def add_members(
    unit: Unit, people: People, user_id: str, channel_id: str, new_ids: Sequence[str]
) -> list[Member]:
    """Adds users to a group, for its admins; returns the memberships of all of them, in their order."""
    reached = reach_group(unit, user_id, channel_id)
    present = members_among(channel_id, new_ids)
    joining = [new_id for new_id in new_ids if new_id not in present]
    people.check(unit, user_id, joining, "user_ids")
    count = Member.select().where(Member.channel_id == channel_id).count()
    if count + len(joining) > GROUP_MEMBERS:
        raise TooManyMembers(limit=GROUP_MEMBERS)
    join(unit, reached.channel, reached.numbering, joining)
    members = members_among(channel_id, new_ids)
    return [members[new_id] for new_id in new_ids]


def update_member(
    unit: Unit, user_id: str, channel_id: str, member_id: str, role: str, etag: str
) -> Member:
    """Changes the role of another member of a group, for its admins. Nobody changes their own, so that a
    group never is without an admin."""
    reached = reach_group(unit, user_id, channel_id)
    if member_id == user_id:
        raise OwnMembership(field="member.user_id")
    member = _other(channel_id, member_id)
    check_same(etag, member_etag(member))
    if member.role != role:
        _set_role(unit, member, role, reached.numbering)
    return member


def remove_member(unit: Unit, user_id: str, channel_id: str, member_id: str) -> None:
    """Ends the membership of somebody else in a group, for its admins."""
    reached = reach_group(unit, user_id, channel_id, closed_too=True)
    if member_id == user_id:
        raise OwnMembership(field="user_id")
    _other(channel_id, member_id)
    depart(unit, channel_id, reached.numbering, [member_id])


def leave_channel(unit: Unit, directory: Directory, user_id: str, channel_id: str) -> None:
    """Ends the user's membership in a group. Somebody else becomes admin where none is left."""
    reached = reach(unit, user_id, channel_id)
    if reached.channel.type != GROUP:
        raise NotAGroup
    depart(unit, channel_id, reached.numbering, [user_id])
    if reached.membership.role == ADMIN:
        _replace_admin(unit, directory, reached)


def leave_all(unit: Unit, directory: Directory, user_id: str) -> None:
    """Ends every membership of somebody whose account is being erased, so that others hear of it as of any
    departure, and groups keep an admin. Memberships that fall with their user are told to nobody."""
    mine = Member.select(Member.channel_id).where(Member.user_id == user_id)
    # In the order in which senders lock several channels.
    for channel_id in sorted(member.channel_id for member in mine):
        numbering = Numbering(unit, channel_id)
        membership = membership_of(user_id, channel_id)
        if membership is None:
            continue  # They left while this waited for the lock.
        depart(unit, channel_id, numbering, [user_id])
        if membership.role == ADMIN:
            reached = Reached(Channel.get_by_id(channel_id), membership, numbering)
            _replace_admin(unit, directory, reached)


def _replace_admin(unit: Unit, directory: Directory, reached: Reached) -> None:
    """Has a group an admin again, if it has members; those come first whose accounts are in use."""
    left = list(
        Member.select()
        .where(Member.channel_id == reached.channel.id)
        .order_by(Member.create_time, Member.user_id)
    )
    if not left:
        archive(unit, reached.channel, reached.numbering)
    elif all(member.role != ADMIN for member in left):
        active = directory.active_users(unit, [member.user_id for member in left])
        heir = next((member for member in left if member.user_id in active), left[0])
        _set_role(unit, heir, ADMIN, reached.numbering)


def _set_role(unit: Unit, member: Member, role: str, numbering: Numbering) -> None:
    member.role = role
    member.change = numbering.take()
    member.update_time = unit.now
    member.save()


def _other(channel_id: str, member_id: str) -> Member:
    member = membership_of(member_id, channel_id)
    if member is None:
        raise MemberNotFound
    return member


def list_members(unit: Unit, pages: Pages, user_id: str, query: MemberQuery) -> Page[Member]:
    """One page of the members of a channel of the user's, those first who joined first."""
    check_member(user_id, query.channel_id)
    return paginate(
        pages,
        Member.select().where(Member.channel_id == query.channel_id),
        order=[Order(Member.create_time), Order(Member.user_id)],
        page_size=query.page_size,
        page_token=query.page_token,
        scope={"list": "chat.members", "caller": user_id, "channel": query.channel_id},
    )


def mute_channel(unit: Unit, user_id: str, channel_id: str, duration: timedelta) -> datetime | None:
    """Until when the user is not notified of a channel of theirs; ``None`` after a duration of 0."""
    until = unit.now + duration if duration else None
    changed = (
        Member.update(mute_until=until, update_time=unit.now)
        .where((Member.channel_id == channel_id) & (Member.user_id == user_id))
        .execute()
    )
    if not changed:
        raise ChannelNotFound
    return until
