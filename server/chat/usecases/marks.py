"""How far members have read."""

from collections.abc import Mapping
from typing import cast

from peewee import EXCLUDED

from server.chat.errors import ChannelNotFound, SeqAhead
from server.chat.events import DeliveryMarked, ReadMarked
from server.chat.models import Channel, Member, ReadMark
from server.core.unit import Unit


def mark_read(unit: Unit, user_id: str, channel_id: str, seq: int) -> int:
    """Moves the user's read mark forward, never back; returns where it is now."""
    found = (
        Channel.select(Channel.epoch, Channel.last_seq)
        .join(Member, on=(Member.channel_id == Channel.id))
        .where(Channel.id == channel_id, Member.user_id == user_id)
        .tuples()
        .first()
    )
    if found is None:
        raise ChannelNotFound
    epoch, last_seq = found
    if seq > last_seq:
        raise SeqAhead(field="seq", last_seq=last_seq)
    moved = (
        ReadMark.insert(
            channel_id=channel_id,
            user_id=user_id,
            last_read_seq=seq,
            last_delivered_seq=seq,
            create_time=unit.now,
            update_time=unit.now,
        )
        .on_conflict(
            conflict_target=[ReadMark.channel_id, ReadMark.user_id],
            preserve=[ReadMark.last_read_seq, ReadMark.update_time],
            where=(ReadMark.last_read_seq < EXCLUDED.last_read_seq),
        )
        .returning(ReadMark.last_read_seq)
        .execute()
    )
    if list(moved):
        unit.emit(ReadMarked(channel_id, epoch, user_id, seq))
        return seq
    mark = ReadMark.get(ReadMark.channel_id == channel_id, ReadMark.user_id == user_id)
    return int(mark.last_read_seq)


def mark_delivered(unit: Unit, user_id: str, delivered: Mapping[str, int]) -> None:
    """Moves the user's marks of delivery forward, never back. Channels of which the user is no member
    any more are passed over: what a device has received may lie behind what has happened since."""
    found = (
        Channel.select(Channel.id, Channel.epoch, Channel.last_seq)
        .join(Member, on=(Member.channel_id == Channel.id))
        .where(Channel.id.in_(list(delivered)) & (Member.user_id == user_id))
        .order_by(Channel.id)
        .tuples()
    )
    rows = cast("list[tuple[str, int, int]]", list(found))
    for channel_id, epoch, last_seq in rows:
        seq = delivered[channel_id]
        if seq > last_seq:
            raise SeqAhead(field="seq", last_seq=last_seq)
        moved = (
            ReadMark.insert(
                channel_id=channel_id,
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
        if list(moved):
            unit.emit(DeliveryMarked(channel_id, epoch, user_id, seq))
