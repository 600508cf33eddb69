"""Doors: what modules above the chat have done with conversations, inside their own units of work.

They do not import the chat: each declares the port that it needs, and the composition root hands it these
functions. Whatever happens here is told to all streams after the unit's commit.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from server.chat.changes import touch
from server.chat.errors import ChannelArchived, ChannelNotFound, MessageEmpty
from server.chat.events import MessagePosted
from server.chat.message import SYSTEM
from server.chat.models import DIRECT, ORDER, TICKET, Channel, Member, Message
from server.chat.rules import check_storable, direct_key
from server.chat.usecases.memberships import Numbering, archive, depart, join
from server.core.db import sql
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.text_search import folded
from server.core.unit import Unit

_NUMBER = """
    UPDATE chat_channels SET last_seq = last_seq + 1, update_time = ? WHERE id = ?
    RETURNING epoch, last_seq, archived_at
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors of the chat. They trust their callers: nobody's membership or role is asked for."""

    def open_order(self, unit: Unit, order_id: str, member_ids: Collection[str]) -> str:
        """The id of an order's channel, made if there is none; its members are these from now on."""
        channel_id = _opened(unit, ORDER, Channel.order_id, order_id)
        self.set_members(unit, channel_id, member_ids)
        return channel_id

    def open_ticket(self, unit: Unit, ticket_id: str, member_ids: Collection[str]) -> str:
        """The same for a support ticket."""
        channel_id = _opened(unit, TICKET, Channel.ticket_id, ticket_id)
        self.set_members(unit, channel_id, member_ids)
        return channel_id

    def order_channel(self, unit: Unit, order_id: str) -> str:
        """The id of an order's channel; ``ChannelNotFound`` when it was never opened."""
        return _found(Channel.order_id, order_id)

    def ticket_channel(self, unit: Unit, ticket_id: str) -> str:
        """The id of a support ticket's channel; ``ChannelNotFound`` when it was never opened."""
        return _found(Channel.ticket_id, ticket_id)

    def set_members(self, unit: Unit, channel_id: str, member_ids: Collection[str]) -> None:
        """Makes these users, all of whom exist, the members of an order's or a ticket's channel."""
        wanted = set(member_ids)
        if _member_ids(channel_id) == wanted:
            return
        numbering = Numbering(unit, channel_id)
        channel = Channel.get_by_id(channel_id)
        if channel.type not in (ORDER, TICKET):
            raise ValueError(f"the members of a {channel.type} channel follow nothing")
        present = _member_ids(channel_id)
        depart(unit, channel_id, numbering, sorted(present - wanted))
        join(unit, channel, numbering, sorted(wanted - present))

    def post_system(self, unit: Unit, channel_id: str, text: str) -> int:
        """Adds a message of the system to a channel; returns its number. ``ChannelArchived`` when the channel
        is closed."""
        check_storable("text", text)
        if not text:
            raise MessageEmpty
        # Takes the number and locks the channel, so that messages keep their order.
        rows = list(sql(_NUMBER, microseconds(unit.now), channel_id).fetchall())
        if not rows:
            raise ChannelNotFound
        epoch, seq, archived_at = rows[0]
        if archived_at is not None:
            raise ChannelArchived
        Message.create(
            channel_id=channel_id,
            seq=seq,
            sender_id="",
            client_id=new_id(),
            type=SYSTEM,
            text=text,
            folded=folded(text),
            special=True,
        )
        unit.emit(MessagePosted(channel_id, epoch, seq))
        return int(seq)

    def archive(self, unit: Unit, channel_id: str) -> None:
        """Closes a channel: it can be read and not be written to any more."""
        numbering = Numbering(unit, channel_id)
        archive(unit, Channel.get_by_id(channel_id), numbering)

    def set_blocked(self, unit: Unit, user_id: str, other_id: str, *, blocked: bool) -> None:
        """Closes or opens the direct channel of two users, for both. To be called in the unit that stores
        the block, with ``blocked`` while either of them blocks the other."""
        key = direct_key(user_id, other_id)
        made = (
            Channel.insert(type=DIRECT, direct_key=key, create_time=unit.now, update_time=unit.now)
            .on_conflict_ignore()
            .returning(Channel.id)
            .execute()
        )
        if list(made):
            # They have none. Whoever makes it in this moment waits for this unit, and sees the block then.
            Channel.delete().where(Channel.direct_key == key).execute()
            return
        channel_id = _found(Channel.direct_key, key)
        change = touch(unit, channel_id)
        channel = Channel.get_by_id(channel_id)
        if channel.blocked != blocked:
            # Its place in lists is that of what was said in it.
            Channel.update(blocked=blocked, info_change=change).where(
                Channel.id == channel_id
            ).execute()


def _opened(unit: Unit, kind: str, column: Any, value: str) -> str:
    """The channel that belongs to something, made if there is none, by whichever unit comes first."""
    times = {Channel.create_time: unit.now, Channel.update_time: unit.now}
    Channel.insert({Channel.type: kind, column: value, **times}).on_conflict_ignore().execute()
    return _found(column, value)


def _found(column: Any, value: str) -> str:
    channel = Channel.get_or_none(column == value)
    if channel is None:
        raise ChannelNotFound
    return str(channel.id)


def _member_ids(channel_id: str) -> set[str]:
    rows = Member.select(Member.user_id).where(Member.channel_id == channel_id)
    return {row.user_id for row in rows}
