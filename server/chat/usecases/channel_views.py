"""Channels as their members see them. However many there are, the number of statements is the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from peewee import fn

from server.chat.errors import ChannelNotFound
from server.chat.message import StoredMessage
from server.chat.models import Channel, Member, Message, ReadMark
from server.chat.usecases.unread import unread_counts
from server.core.etags import etag_of
from server.core.unit import Unit

SHOWN_MEMBERS = 100
NEWEST = 1_000
"""Among so many of the newest messages the last one is looked for that is not deleted."""


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as one of its members sees it."""

    channel: Channel
    membership: Member
    member_ids: tuple[str, ...]
    """The first of them, by id."""
    member_count: int
    last_read_seq: int
    unread_from_seq: int
    unread_count: int
    last_message: StoredMessage | None
    etag: str


def view_of(unit: Unit, user_id: str, channel_id: str) -> ChannelView:
    """One channel; ``ChannelNotFound`` unless the user is a member of it."""
    views = views_of(unit, user_id, list(Channel.select().where(Channel.id == channel_id)))
    if not views:
        raise ChannelNotFound
    return views[0]


def views_of(unit: Unit, user_id: str, channels: Sequence[Channel]) -> list[ChannelView]:
    """Those of the channels of which the user is a member, in their order."""
    ids = [channel.id for channel in channels]
    if not ids:
        return []
    mine = {
        row.channel_id: row
        for row in Member.select().where(Member.channel_id.in_(ids) & (Member.user_id == user_id))
    }
    marks = {
        row.channel_id: row
        for row in ReadMark.select().where(
            ReadMark.channel_id.in_(ids) & (ReadMark.user_id == user_id)
        )
    }
    counts, shown = _members(ids)
    unread = unread_counts(unit, user_id, ids)
    newest = _newest(ids)
    return [
        ChannelView(
            channel,
            mine[channel.id],
            tuple(shown[channel.id]),
            counts[channel.id],
            mark.last_read_seq if mark else 0,
            mark.unread_from_seq or 0 if mark else 0,
            unread.get(channel.id, 0),
            newest.get(channel.id),
            channel_etag(channel),
        )
        for channel, mark in ((channel, marks.get(channel.id)) for channel in channels)
        # Two statements may see two states: the membership may have ended between them.
        if channel.id in mine and channel.id in shown
    ]


def channel_etag(channel: Channel) -> str:
    """Changes with what can be edited, and with the archiving."""
    ignoring = ("update_time", "created_by", "last_seq", "history_start_seq", "epoch")
    return etag_of(channel, ignoring=(*ignoring, "last_change", "info_change", "blocked"))


def _members(ids: list[str]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """How many members each channel has, and the first of them."""
    place = fn.ROW_NUMBER().over(partition_by=[Member.channel_id], order_by=[Member.user_id])
    count = fn.COUNT(Member.user_id).over(partition_by=[Member.channel_id])
    ranked = (
        Member.select(Member.channel_id, Member.user_id, place.alias("place"), count.alias("total"))
        .where(Member.channel_id.in_(ids))
        .alias("ranked")
    )
    rows = (
        Member.select(ranked.c.channel_id, ranked.c.user_id, ranked.c.total)
        .from_(ranked)
        .where(ranked.c.place <= SHOWN_MEMBERS)
        .order_by(ranked.c.channel_id, ranked.c.user_id)
        .tuples()
    )
    counts: dict[str, int] = {}
    shown: dict[str, list[str]] = {}
    for channel_id, user_id, total in cast("list[tuple[str, str, int]]", list(rows)):
        counts[channel_id] = total
        shown.setdefault(channel_id, []).append(user_id)
    return counts, shown


def _newest(ids: list[str]) -> dict[str, StoredMessage]:
    """The newest message of each channel that is not deleted."""
    other = Message.alias("other")
    seq = (
        other.select(other.seq)
        .where(
            (other.channel_id == Channel.id)
            & (other.seq > Channel.last_seq - NEWEST)
            & other.delete_time.is_null()
        )
        .order_by(other.seq.desc())
        .limit(1)
    )
    rows = (
        Message.select()
        .join(Channel, on=((Message.channel_id == Channel.id) & (Message.seq == seq)))
        .where(Channel.id.in_(ids))
    )
    return {row.channel_id: row.stored() for row in rows}
