"""What chat calls do. Each runs inside the unit of work it is given."""

from dataclasses import dataclass

from peewee import EXCLUDED

from server.chat.errors import ChannelNotFound, DirectWithSelf, SeqAhead, UserNotFound
from server.chat.events import MemberJoined, ReadMarked
from server.chat.history import HistoryReader, StoredMessage
from server.chat.models import DIRECT, Channel, Member, ReadMark
from server.chat.ports import Directory
from server.chat.rules import Standing, direct_key
from server.core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Pages
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel as one of its members sees it."""

    channel: Channel
    member_ids: tuple[str, ...]
    last_read_seq: int


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which messages are listed: ``after_seq`` and on, oldest first, or before ``before_seq`` (0 stands
    for the end), newest first."""

    channel_id: str
    before_seq: int
    after_seq: int | None
    page_size: int
    page_token: str

    def scope(self, user_id: str) -> str:
        """What a page token of this list is bound to."""
        return f"chat.messages|{user_id}|{self.channel_id}|{self.before_seq}|{self.after_seq}"


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Messages of one page, and where the channel stood when it was read."""

    messages: list[StoredMessage]
    next_page_token: str
    standing: Standing


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


def list_messages(
    unit: Unit, history: HistoryReader, pages: Pages, user_id: str, query: HistoryQuery
) -> HistoryPage:
    """One page of a channel's history. The channel is read first, and nothing newer is listed: from its
    cursor on a stream has all that this page has not."""
    standing = history.standing(unit, user_id, query.channel_id)
    if standing is None:
        raise ChannelNotFound
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    scope = query.scope(user_id)
    position = pages.position(query.page_token, scope)[0] if query.page_token else None
    if query.after_seq is not None:
        seq = max(query.after_seq if position is None else position, standing.history_start_seq)
        messages = history.after(unit, query.channel_id, seq, standing.last_seq, size + 1)
    else:
        end = min(query.before_seq or standing.last_seq + 1, standing.last_seq + 1)
        seq = end if position is None else position
        messages = history.before(unit, query.channel_id, seq, size + 1)
    token = ""
    if len(messages) > size:
        del messages[size:]
        token = pages.token([messages[-1].seq], scope)
    return HistoryPage(messages, token, standing)


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
