"""Conversations: making and finding them."""

from dataclasses import dataclass

from server.chat.errors import DirectWithSelf, UserNotFound
from server.chat.events import MemberJoined
from server.chat.models import DIRECT, Channel, Member, ReadMark
from server.chat.ports import Directory
from server.chat.rules import direct_key
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as one of its members sees it."""

    channel: Channel
    member_ids: tuple[str, ...]
    last_read_seq: int


def get_direct_channel(
    unit: Unit, directory: Directory, user_id: str, other_id: str
) -> ChannelView:
    """The one direct channel of two users; made if there is none, by whichever call comes first."""
    if user_id == other_id:
        raise DirectWithSelf
    if other_id not in directory.active_users(unit, [other_id]):
        raise UserNotFound
    key = direct_key(user_id, other_id)
    channel = Channel.get_or_none(Channel.direct_key == key)
    if channel is None:
        # Another call may make it in this moment: this waits for it, and then changes nothing.
        made = (
            Channel.insert(type=DIRECT, direct_key=key, create_time=unit.now, update_time=unit.now)
            .on_conflict_ignore()
            .returning(Channel.id)
            .execute()
        )
        channel = Channel.get(Channel.direct_key == key)
        if list(made):
            _add_members(unit, channel.id, (user_id, other_id))
    mark = ReadMark.get_or_none(ReadMark.channel_id == channel.id, ReadMark.user_id == user_id)
    return ChannelView(
        channel,
        tuple(member.user_id for member in Member.in_channel(channel.id)),
        0 if mark is None else mark.last_read_seq,
    )


def _add_members(unit: Unit, channel_id: str, user_ids: tuple[str, ...]) -> None:
    Member.insert_many(
        [
            {
                "channel_id": channel_id,
                "user_id": user_id,
                "create_time": unit.now,
                "update_time": unit.now,
            }
            for user_id in user_ids
        ]
    ).execute()
    unit.emit(MemberJoined(channel_id, user_ids))
