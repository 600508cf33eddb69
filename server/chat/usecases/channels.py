"""Conversations: making, finding, changing and closing them."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from server.chat.errors import (
    ChannelNotFound,
    DirectWithSelf,
    MediaNotFound,
    TitleBlank,
    UserNotFound,
)
from server.chat.message import IMAGE
from server.chat.models import ADMIN, DIRECT, GROUP, MEMBER, Channel, Member
from server.chat.ports import MediaShelf
from server.chat.rules import direct_key
from server.chat.usecases.channel_views import ChannelView, channel_etag, view_of, views_of
from server.chat.usecases.memberships import (
    Numbering,
    archive,
    insert_members,
    reach_group,
)
from server.chat.usecases.people import People
from server.core.etags import check_same
from server.core.pagination import Order, Pages, paginate
from server.core.unit import Unit

ARCHIVE = "chat.channels.archive"
"""The permission of staff to close any channel."""
UPDATABLE = ("title", "description", "avatar_media_id")


class NewGroup(NamedTuple):
    """A group as somebody wants it."""

    title: str
    description: str
    avatar_media_id: str
    member_ids: tuple[str, ...]


class ChannelQuery(NamedTuple):
    """Which of the caller's channels are listed."""

    type: str
    """Empty for all types."""
    archived: bool
    page_size: int
    page_token: str


def create_group(
    unit: Unit, people: People, shelf: MediaShelf, user_id: str, new: NewGroup
) -> ChannelView:
    """Makes a group, with its maker as admin."""
    others = [member_id for member_id in dict.fromkeys(new.member_ids) if member_id != user_id]
    people.check(unit, user_id, others, "member_ids")
    _check_avatar(unit, shelf, user_id, new.avatar_media_id, "avatar_media_id")
    channel = Channel.create(
        type=GROUP,
        title=new.title,
        description=new.description,
        avatar_media_id=new.avatar_media_id or None,
        created_by=user_id,
        last_change=1 + len(others),
    )
    members = [(user_id, ADMIN, 1), *((other, MEMBER, n) for n, other in enumerate(others, 2))]
    insert_members(unit, channel.id, members)
    return view_of(unit, user_id, channel.id)


def list_channels(
    unit: Unit, pages: Pages, user_id: str, query: ChannelQuery
) -> tuple[list[ChannelView], str]:
    """One page of the user's channels, and the token of the next one."""
    rows = (
        Channel.select()
        .join(Member, on=(Member.channel_id == Channel.id))
        .where((Member.user_id == user_id) & Channel.archived_at.is_null(not query.archived))
    )
    if query.type:
        rows = rows.where(Channel.type == query.type)
    page = paginate(
        pages,
        rows,
        order=[Order(Channel.update_time, descending=True), Order(Channel.id, descending=True)],
        page_size=query.page_size,
        page_token=query.page_token,
        scope={
            "list": "chat.channels",
            "caller": user_id,
            "type": query.type,
            "archived": str(query.archived),
        },
    )
    return views_of(unit, user_id, page.items), page.next_page_token


def update_group(
    unit: Unit,
    shelf: MediaShelf,
    user_id: str,
    channel_id: str,
    changes: Mapping[str, str],
    etag: str,
) -> ChannelView:
    """Changes a group's title, description or picture, for its admins."""
    reached = reach_group(unit, user_id, channel_id)
    channel = reached.channel
    check_same(etag, channel_etag(channel))
    before = channel_etag(channel)
    for name, value in changes.items():
        if name == "title" and not value.strip():
            raise TitleBlank(field="channel.title")
        if name == "avatar_media_id":
            if value != (channel.avatar_media_id or ""):
                _check_avatar(unit, shelf, user_id, value, "channel.avatar_media_id")
            channel.avatar_media_id = value or None
        else:
            setattr(channel, name, value)
    if channel_etag(channel) != before:
        channel.info_change = reached.numbering.take()
        channel.save()
    return view_of(unit, user_id, channel_id)


def delete_channel(unit: Unit, user_id: str, channel_id: str) -> datetime:
    """Archives a channel: a group for its admins, any one for staff who may. Says since when it is."""
    if unit.caller.is_admin_and_may(ARCHIVE):
        numbering = Numbering(unit, channel_id)
        channel = Channel.get_by_id(channel_id)
    else:
        reached = reach_group(unit, user_id, channel_id, closed_too=True)
        channel, numbering = reached.channel, reached.numbering
    archive(unit, channel, numbering)
    unit.audit("channel.archive", resource=f"chatChannels/{channel_id}")
    assert channel.archived_at is not None
    return channel.archived_at


def get_order_channel(unit: Unit, user_id: str, order_id: str) -> ChannelView:
    """The channel of an order in which the user takes part."""
    channel = Channel.get_or_none(Channel.order_id == order_id)
    if channel is None:
        raise ChannelNotFound
    return view_of(unit, user_id, channel.id)


def get_direct_channel(unit: Unit, people: People, user_id: str, other_id: str) -> ChannelView:
    """The one direct channel of two users; made if there is none, by whichever call comes first."""
    if user_id == other_id:
        raise DirectWithSelf
    if other_id not in people.directory.active_users(unit, [other_id]):
        raise UserNotFound(field="user_id")
    key = direct_key(user_id, other_id)
    channel = Channel.get_or_none(Channel.direct_key == key)
    if channel is None:
        channel = _make_direct(unit, people, key, user_id, other_id)
    return view_of(unit, user_id, channel.id)


def _make_direct(unit: Unit, people: People, key: str, user_id: str, other_id: str) -> Channel:
    # Another call may make it in this moment: this waits for it, and then changes nothing.
    made = (
        Channel.insert(type=DIRECT, direct_key=key, create_time=unit.now, update_time=unit.now)
        .on_conflict_ignore()
        .returning(Channel.id)
        .execute()
    )
    channel: Channel = Channel.get(Channel.direct_key == key)
    if list(made):
        # Asked behind the key: who blocks in this moment marks the channel, or is seen here.
        people.check(unit, user_id, [other_id], "user_id")
        insert_members(unit, channel.id, [(user_id, MEMBER, 0), (other_id, MEMBER, 0)])
    return channel


def _check_avatar(unit: Unit, shelf: MediaShelf, user_id: str, media_id: str, field: str) -> None:
    if media_id:
        found = shelf.ready(unit, user_id, [media_id]).get(media_id)
        if found is None or found.type != IMAGE:
            raise MediaNotFound(field=field)
