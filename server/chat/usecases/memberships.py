"""Memberships: looking at them, and changing them behind the lock of their channel."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from server.chat.changes import touch
from server.chat.errors import ChannelArchived, ChannelNotFound, NotAGroup, RoleForbids
from server.chat.events import MemberJoined, MemberLeft
from server.chat.models import ADMIN, GROUP, MEMBER, Channel, Departure, Member, ReadMark
from server.core.etags import etag_of
from server.core.unit import Unit


class Numbering:
    """Hands out the numbers of a unit's changes to one channel, each of which is told by itself.

    The channel is locked from the beginning on: what is read after that stays as it is.
    """

    def __init__(self, unit: Unit, channel_id: str) -> None:
        self._unit = unit
        self._channel_id = channel_id
        self._waiting: int | None = touch(unit, channel_id)

    def take(self) -> int:
        """The number of one more change."""
        number, self._waiting = self._waiting, None
        return touch(self._unit, self._channel_id) if number is None else number


@dataclass(frozen=True, slots=True)
class Reached:
    """A channel that is about to be changed, locked, and the membership of who changes it."""

    channel: Channel
    membership: Member
    numbering: Numbering


def membership_of(user_id: str, channel_id: str) -> Member | None:
    """The membership, if there is one."""
    found: Member | None = Member.get_or_none(
        (Member.channel_id == channel_id) & (Member.user_id == user_id)
    )
    return found


def check_member(user_id: str, channel_id: str) -> Member:
    """The membership; ``ChannelNotFound`` for those who are not members."""
    found = membership_of(user_id, channel_id)
    if found is None:
        raise ChannelNotFound
    return found


def reach(unit: Unit, user_id: str, channel_id: str) -> Reached:
    """Locks a channel of the user's. Who is no member locks nothing: they are told before."""
    check_member(user_id, channel_id)
    numbering = Numbering(unit, channel_id)
    # Anew behind the lock: it may have ended while this waited.
    membership = check_member(user_id, channel_id)
    return Reached(Channel.get_by_id(channel_id), membership, numbering)


def reach_group(unit: Unit, user_id: str, channel_id: str, *, closed_too: bool = False) -> Reached:
    """Locks a group of which the user is an admin; with ``closed_too`` also one that is archived."""
    reached = reach(unit, user_id, channel_id)
    if reached.channel.type != GROUP:
        raise NotAGroup
    if reached.membership.role != ADMIN:
        raise RoleForbids
    if reached.channel.archived_at is not None and not closed_too:
        raise ChannelArchived
    return reached


def members_among(channel_id: str, user_ids: Collection[str]) -> dict[str, Member]:
    """The memberships of those of the users who have one."""
    rows = Member.select().where(
        (Member.channel_id == channel_id) & Member.user_id.in_(list(user_ids))
    )
    return {row.user_id: row for row in rows}


def join(unit: Unit, channel: Channel, numbering: Numbering, user_ids: Sequence[str]) -> None:
    """Makes users members who are not; ``channel`` was read behind the lock."""
    if not user_ids:
        return
    Departure.delete().where(
        (Departure.channel_id == channel.id) & Departure.user_id.in_(list(user_ids))
    ).execute()
    insert_members(
        unit,
        channel.id,
        [(user_id, MEMBER, numbering.take()) for user_id in user_ids],
        channel.last_seq,
    )


def insert_members(
    unit: Unit, channel_id: str, members: Iterable[tuple[str, str, int]], joined_seq: int = 0
) -> None:
    """Inserts memberships: user, role and change of each."""
    made = list(members)
    rows = [
        {
            "channel_id": channel_id,
            "user_id": user_id,
            "role": role,
            "change": change,
            "joined_seq": joined_seq,
            "create_time": unit.now,
            "update_time": unit.now,
        }
        for user_id, role, change in made
    ]
    Member.insert_many(rows).execute()
    unit.emit(MemberJoined(channel_id, tuple(user_id for user_id, _, _ in made)))


def depart(unit: Unit, channel_id: str, numbering: Numbering, user_ids: Sequence[str]) -> None:
    """Ends the memberships of users who are members, and forgets how far they had read."""
    if not user_ids:
        return
    for table in (Member, ReadMark):
        table.delete().where(
            (table.channel_id == channel_id) & table.user_id.in_(list(user_ids))
        ).execute()
    Departure.insert_many(
        [
            {
                "channel_id": channel_id,
                "user_id": user_id,
                "change": numbering.take(),
                "create_time": unit.now,
                "update_time": unit.now,
            }
            for user_id in user_ids
        ]
    ).execute()
    unit.emit(MemberLeft(channel_id, tuple(user_ids)))


def archive(unit: Unit, channel: Channel, numbering: Numbering) -> None:
    """Closes a channel for good; the time of the first time stays."""
    if channel.archived_at is None:
        channel.archived_at = unit.now
        channel.info_change = numbering.take()
        channel.save()


def member_etag(member: Member) -> str:
    """Changes with the role, and with another membership of the same user."""
    return etag_of(member, ignoring=("mute_until", "change", "update_time"))
