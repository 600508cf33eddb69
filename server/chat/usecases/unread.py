"""What members have not read yet."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple, cast

import orjson
from peewee import JOIN

from server.chat.models import Channel, Member, ReadMark
from server.core.db import database, sql
from server.core.unit import Unit

MOST_UNREAD = 1_000
"""So many of the newest numbers are looked at, and stand for that many or more: numbers have no gaps, so a
count costs no more than that however much was said."""
UNREAD_CHANNELS = 500
"""Channels that are told of at once."""

_SEEN = """
    CASE WHEN r.unread_from_seq <= r.last_read_seq OR r.unread_from_seq <= m.joined_seq
            THEN r.unread_from_seq - 1
        WHEN m.joined_seq > coalesce(r.last_read_seq, 0) THEN m.joined_seq
        ELSE coalesce(r.last_read_seq, 0) END
"""
_MARKS = """
    LEFT JOIN chat_reads AS r ON r.channel_id = m.channel_id AND r.user_id = m.user_id
"""
# One bound: of two SQLite would walk from the first one on, through the whole history.
_UNREAD = f"""
    x.channel_id = c.id AND x.seq > <greatest>({_SEEN}, c.last_seq - {MOST_UNREAD})
    AND x.sender_id <> m.user_id AND x.delete_time IS NULL
"""
_SQLITE = f"""
    SELECT c.id, count(x.id), sum(coalesce(instr(x.mentions, m.user_id) > 0, 0))
    FROM json_each(?) AS k
    CROSS JOIN chat_members AS m ON m.channel_id = k.value AND m.user_id = ?
    CROSS JOIN chat_channels AS c ON c.id = m.channel_id
    {_MARKS} LEFT JOIN chat_messages AS x ON {_UNREAD}
    GROUP BY c.id
""".replace("<greatest>", "max")  # noqa: S608 - put together of constants, like the next one
_POSTGRESQL = f"""
    SELECT c.id, u.count, u.mentions
    FROM unnest(?::text[]) AS k(id)
    JOIN chat_members AS m ON m.channel_id = k.id AND m.user_id = ?
    JOIN chat_channels AS c ON c.id = m.channel_id
    {_MARKS} CROSS JOIN LATERAL (
        SELECT count(*) AS count,
            count(*) FILTER (WHERE strpos(x.mentions, m.user_id) > 0) AS mentions
        FROM chat_messages AS x WHERE {_UNREAD}
    ) AS u
""".replace("<greatest>", "greatest")  # noqa: S608


class Unread(NamedTuple):
    """What a user has not read in a channel."""

    channel_id: str
    unread: int
    mentions: int
    muted: bool


def unread_counts(_unit: Unit, user_id: str, channel_ids: Collection[str]) -> dict[str, int]:
    """How many messages of others the user has not read in each of the channels, at most ``MOST_UNREAD``:
    those after the read mark, or from where the user has marked them as unread, that are not deleted.

    Messages of before the user joined count as read. Channels of others are left out.
    """
    return {row[0]: row[1] for row in _counted(user_id, channel_ids)}


def list_unread(unit: Unit, user_id: str) -> list[Unread]:
    """The user's channels in which something is unread, those with the newest messages first."""
    muted = {
        channel_id: mute_until is not None and mute_until > unit.now
        for channel_id, mute_until in _candidates(user_id)
    }
    counted = {row[0]: row for row in _counted(user_id, muted)}
    return [
        Unread(channel_id, counted[channel_id][1], counted[channel_id][2], is_muted)
        for channel_id, is_muted in muted.items()
        if counted[channel_id][1]
    ]


def _candidates(user_id: str) -> Sequence[tuple[str, datetime | None]]:
    """The channels that go on after what the user has read, the newest first, and until when they are
    muted."""
    own = (ReadMark.channel_id == Member.channel_id) & (ReadMark.user_id == Member.user_id)
    newer = (ReadMark.last_read_seq.is_null()) | (Channel.last_seq > ReadMark.last_read_seq)
    unread = (newer & (Channel.last_seq > Member.joined_seq)) | (
        Channel.last_seq >= ReadMark.unread_from_seq
    )
    found = (
        Member.select(Channel.id, Member.mute_until)
        .join(Channel, on=(Channel.id == Member.channel_id))
        .join_from(Member, ReadMark, JOIN.LEFT_OUTER, on=own)
        .where((Member.user_id == user_id) & unread)
        .order_by(Channel.update_time.desc(), Channel.id.desc())
        .limit(UNREAD_CHANNELS)
        .tuples()
    )
    return cast("Sequence[tuple[str, datetime | None]]", list(found))


def _counted(user_id: str, channel_ids: Collection[str]) -> list[tuple[str, int, int]]:
    if not channel_ids:
        return []
    ids = sorted(set(channel_ids))
    if database.obj.kind == "sqlite":
        rows = sql(_SQLITE, orjson.dumps(ids).decode(), user_id).fetchall()
    else:
        rows = sql(_POSTGRESQL, ids, user_id).fetchall()
    return [(channel_id, count, mentions or 0) for channel_id, count, mentions in rows]
