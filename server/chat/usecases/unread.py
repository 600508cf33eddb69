"""What members have not read yet."""

from collections.abc import Collection

import orjson

from server.core.db import database, sql
from server.core.unit import Unit

MOST_UNREAD = 1_000
"""Stands for that many or more."""
_SPAN = 2_000
"""So many of the newest numbers are looked at: numbers have no gaps, so that a count costs no more than that
however much was said. Who has sent or deleted more than half of them is told too little."""

_SEEN = """
    CASE WHEN r.unread_from_seq <= coalesce(r.last_read_seq, 0) THEN r.unread_from_seq - 1
        WHEN m.joined_seq > coalesce(r.last_read_seq, 0) THEN m.joined_seq
        ELSE coalesce(r.last_read_seq, 0) END
"""
_COUNT = f"""
    SELECT count(*) FROM (
        SELECT 1 FROM chat_messages AS x
        WHERE x.channel_id = s.id AND x.seq > s.seen AND x.seq > s.last_seq - {_SPAN}
            AND x.sender_id <> s.user_id AND x.delete_time IS NULL
        LIMIT {MOST_UNREAD}
    ) AS unread
"""  # noqa: S608 - put together of constants, like the next one
_SQL = f"""
    SELECT s.id, CASE WHEN s.last_seq > s.seen THEN ({_COUNT}) ELSE 0 END
    FROM (
        SELECT c.id, c.last_seq, m.user_id, {_SEEN} AS seen
        FROM <channels>
        LEFT JOIN chat_reads AS r ON r.channel_id = m.channel_id AND r.user_id = m.user_id
    ) AS s
"""  # noqa: S608
_SQLITE = _SQL.replace(
    "<channels>",
    """json_each(?) AS k
        CROSS JOIN chat_members AS m ON m.channel_id = k.value AND m.user_id = ?
        CROSS JOIN chat_channels AS c ON c.id = m.channel_id""",
)
_POSTGRESQL = _SQL.replace(
    "<channels>",
    """unnest(?::text[]) AS k(id)
        JOIN chat_members AS m ON m.channel_id = k.id AND m.user_id = ?
        JOIN chat_channels AS c ON c.id = m.channel_id""",
)


def unread_counts(_unit: Unit, user_id: str, channel_ids: Collection[str]) -> dict[str, int]:
    """How many messages of others the user has not read in each of the channels, at most ``MOST_UNREAD``:
    those after the read mark, or from where the user has marked them as unread, that are not deleted.

    Messages of before the user joined count as read. Channels of others are left out.
    """
    if not channel_ids:
        return {}
    ids = sorted(set(channel_ids))
    if database.obj.kind == "sqlite":
        rows = sql(_SQLITE, orjson.dumps(ids).decode(), user_id).fetchall()
    else:
        rows = sql(_POSTGRESQL, ids, user_id).fetchall()
    return {str(channel_id): int(count) for channel_id, count in rows}
