"""How far members have read, and how far messages have come to their devices."""

from collections.abc import Mapping
from typing import NamedTuple, cast

from peewee import EXCLUDED

from server.chat.errors import ChannelNotFound, SeqAhead
from server.chat.events import DeliveryMarked, ReadMarked, UnreadMarked
from server.chat.models import Channel, Member, ReadMark
from server.core.db import locked_one, locked_or_new
from server.core.unit import Unit


class _Standing(NamedTuple):
    channel_id: str
    epoch: int
    last_seq: int


def mark_read(unit: Unit, user_id: str, channel_id: str, seq: int) -> int:
    """Moves the user's read mark forward, never back; returns where it is now.

    What was read was delivered; and a message that was marked as unread and is read again is unread no
    more.
    """
    standing = _standing(user_id, channel_id, seq)
    mark = _locked_mark(unit, user_id, channel_id)
    moved = mark.last_read_seq < seq
    cleared = mark.unread_from_seq is not None and mark.unread_from_seq <= seq
    if moved:
        mark.last_read_seq = seq
        mark.last_delivered_seq = max(seq, mark.last_delivered_seq)
    if cleared:
        mark.unread_from_seq = None
    if moved or cleared:
        mark.update_time = unit.now
        mark.save()
    if moved:
        unit.emit(ReadMarked(channel_id, standing.epoch, user_id, seq))
    if cleared:
        unit.emit(UnreadMarked(channel_id, standing.epoch, user_id, mark.last_read_seq, 0))
    return int(mark.last_read_seq)


def mark_unread(unit: Unit, user_id: str, channel_id: str, seq: int) -> None:
    """Marks a message and all after it as unread. The read mark stays: others see no difference."""
    standing = _standing(user_id, channel_id, seq)
    mark = _locked_mark(unit, user_id, channel_id)
    if mark.unread_from_seq != seq:
        mark.unread_from_seq = seq
        mark.update_time = unit.now
        mark.save()
        unit.emit(UnreadMarked(channel_id, standing.epoch, user_id, mark.last_read_seq, seq))


def mark_delivered(unit: Unit, user_id: str, delivered: Mapping[str, int]) -> None:
    """Moves the user's marks of delivery forward, never back. Channels of which the user is no member
    any more are passed over: what a device has received may lie behind what has happened since."""
    found = _standings(user_id, delivered)
    for standing in found:
        if delivered[standing.channel_id] > standing.last_seq:
            raise SeqAhead(field="seq", last_seq=standing.last_seq)
    for standing in found:
        _move_delivered(unit, user_id, standing, delivered[standing.channel_id])


def mark_channel_delivered(unit: Unit, user_id: str, channel_id: str, seq: int) -> int:
    """The same in one channel, of which the user has to be a member; returns where the mark is now."""
    standing = _standing(user_id, channel_id, seq)
    if _move_delivered(unit, user_id, standing, seq):
        return seq
    mark = ReadMark.get(ReadMark.channel_id == channel_id, ReadMark.user_id == user_id)
    return int(mark.last_delivered_seq)


def _move_delivered(unit: Unit, user_id: str, standing: _Standing, seq: int) -> bool:
    moved = (
        ReadMark.insert(
            channel_id=standing.channel_id,
            user_id=user_id,
            last_delivered_seq=seq,
            create_time=unit.now,
            update_time=unit.now,
        )
        .on_conflict(
            conflict_target=[ReadMark.channel_id, ReadMark.user_id],
            preserve=[ReadMark.last_delivered_seq, ReadMark.update_time],
            where=(ReadMark.last_delivered_seq < EXCLUDED.last_delivered_seq),
        )
        .returning(ReadMark.last_delivered_seq)
        .execute()
    )
    if not list(moved):
        return False
    unit.emit(DeliveryMarked(standing.channel_id, standing.epoch, user_id, seq))
    return True


def _standing(user_id: str, channel_id: str, seq: int) -> _Standing:
    """Where the channel stands. Raises ``ChannelNotFound``, and ``SeqAhead`` for a number beyond that."""
    found = _standings(user_id, {channel_id: seq})
    if not found:
        raise ChannelNotFound
    if seq > found[0].last_seq:
        raise SeqAhead(field="seq", last_seq=found[0].last_seq)
    return found[0]


def _standings(user_id: str, wanted: Mapping[str, int]) -> list[_Standing]:
    """Those of the channels of which the user is a member, in the order in which marks are locked."""
    found = (
        Channel.select(Channel.id, Channel.epoch, Channel.last_seq)
        .join(Member, on=(Member.channel_id == Channel.id))
        .where(Channel.id.in_(list(wanted)) & (Member.user_id == user_id))
        .order_by(Channel.id)
        .tuples()
    )
    return [_Standing(*row) for row in cast("list[tuple[str, int, int]]", list(found))]


def _locked_mark(unit: Unit, user_id: str, channel_id: str) -> ReadMark:
    """The user's mark, locked until the unit ends; made if there is none."""
    own = (ReadMark.channel_id == channel_id) & (ReadMark.user_id == user_id)
    mark = locked_one(ReadMark, own)
    if mark is None:
        # Another device may make it in this moment: this waits for it, and then changes nothing.
        key = {"channel_id": channel_id, "user_id": user_id}
        mark = locked_or_new(ReadMark, key, create_time=unit.now, update_time=unit.now)
    return mark
