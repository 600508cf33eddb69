"""The constant SQL of the hot paths, for both databases.

Every statement is set-based: it takes all its rows as one parameter set, whatever their number, so
that its text never changes and a batch costs one round trip (one release of the GIL) a statement.
SQLite gets the rows as one JSON text and gives rows back as one; PostgreSQL gets an array a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Statements:
    """The texts for one kind of database.

    Row shapes, in and out:

    - ``lock_channels``: (id) → (id, epoch, last_seq, why nothing can be sent), locked until the
      transaction ends. On PostgreSQL it begins the transaction as well, which saves a round trip.
    - ``look_up_sends``: (number, channel_id, sender_id, client_id) → (number, 1 for a member, then of
      the message that has this client id: id, channel_id, seq, text, create_time, fingerprint, rest).
    - ``insert_messages``: (id, channel_id, seq, sender_id, client_id, text, create_time, folded).
    - ``insert_special``: (id, channel_id, seq, sender_id, client_id, type, text, create_time, folded,
      fingerprint, attachments, mentions, reply_to_id, thread_id).
    - ``count_replies``: (message_id, how many more).
    - ``advance_channels``: (id, last_seq, update_time).
    - ``heads``: (id) → (id, epoch, last_seq, last_change).
    - ``read_marks``: (channel_id) → (channel_id, epoch, user_id, last_read_seq, last_delivered_seq,
      unread_from_seq).

    - ``standings_among``: user_id and (channel_id) → as ``standings``.

    The rest takes single values:

    - ``standings``: user_id, limit → (id, epoch, last_seq, history_start_seq, joined_seq, last_change, the
      membership's change), those with the newest activity first.
    - ``standing``: channel_id, user_id → the same.
    - ``newest_before``: channel_id, seq, first seq → (id, seq, sender_id, client_id, text, create_time,
      rest); the rest is NULL for plain messages, else the values of ``message.Rest``.
    - ``oldest_after``: channel_id, seq, last seq → the same.
    - ``changed``: channel_id, change, limit → the same, of the messages changed since, by change.
    - ``history_after``: channel_id, seq, limit, bytes → the same, as many as make about so many bytes.
    - ``recent_members``: create_time → (channel_id, user_id) of the memberships since.
    - ``recent_departures``: the same of those that ended.
    """

    kind: Literal["sqlite", "postgresql"]
    begin: str
    lock_channels: str
    look_up_sends: str
    insert_messages: str
    insert_special: str
    count_replies: str
    advance_channels: str
    heads: str
    read_marks: str
    standings_among: str
    standings: str
    standing: str
    standings_of: str
    newest_before: str
    oldest_after: str
    history_after: str
    changed: str
    recent_members: str
    recent_departures: str

    def parameters(self, rows: Sequence[Row]) -> tuple[Any, ...]:
        """One parameter set of all rows; ``rows`` is not empty."""
        if self.kind == "sqlite":
            return (orjson.dumps(rows).decode(),)
        return tuple(map(list, zip(*rows, strict=True)))

    def rows(self, cursor: Any) -> list[Row]:
        """The rows that a statement of these has found."""
        if self.kind == "sqlite":
            return orjson.loads(cursor.fetchone()[0])  # type: ignore[no-any-return]
        return cursor.fetchall()  # type: ignore[no-any-return]


_STANDING_COLUMNS = (
    "c.id, c.epoch, c.last_seq, c.history_start_seq, m.joined_seq, c.last_change, m.change"
)
_STANDING = f"""
    SELECT {_STANDING_COLUMNS}
    FROM chat_members AS m JOIN chat_channels AS c ON c.id = m.channel_id
"""  # noqa: S608 - put together of constants, like the next ones
_CLOSED = """
    CASE WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED' WHEN c.blocked THEN 'BLOCKED' END
"""
SQLITE_REST = """
    CASE WHEN x.special THEN json_array(x.type, json(x.attachments), json(x.mentions), x.reply_to_id,
        x.thread_id, x.reply_count, json(x.reactions), x.change, x.edit_time, x.delete_time) END
"""
POSTGRESQL_REST = """
    CASE WHEN x.special THEN json_build_array(x.type, x.attachments::json, x.mentions::json,
        x.reply_to_id, x.thread_id, x.reply_count, x.reactions::json, x.change, x.edit_time,
        x.delete_time) END
"""
_MESSAGE = "id, seq, sender_id, client_id, text, create_time, rest"
_SELECT = "id, seq, sender_id, client_id, text, create_time, <rest> AS rest"
_READS = {
    "standings": f"{_STANDING} WHERE m.user_id = ? ORDER BY c.update_time DESC, c.id LIMIT ?",
    "standing": f"{_STANDING} WHERE m.channel_id = ? AND m.user_id = ?",
    "newest_before": f"""
        SELECT {_SELECT} FROM chat_messages AS x
        WHERE channel_id = ? AND seq < ? AND seq >= ? ORDER BY seq DESC
    """,  # noqa: S608
    "oldest_after": f"""
        SELECT {_SELECT} FROM chat_messages AS x
        WHERE channel_id = ? AND seq > ? AND seq <= ? ORDER BY seq
    """,  # noqa: S608
    # 200 bytes stand for what is not text; the message that crosses the limit is the last one.
    "history_after": f"""
        SELECT {_MESSAGE} FROM (
            SELECT {_MESSAGE},
                SUM(LENGTH(text) + 200) OVER (ORDER BY seq) - LENGTH(text) - 200 AS size_before
            FROM (
                SELECT {_SELECT} FROM chat_messages AS x
                WHERE channel_id = ? AND seq > ? ORDER BY seq LIMIT ?
            ) AS page
        ) AS sized WHERE size_before < ? ORDER BY seq
    """,  # noqa: S608
    # Of two lower bounds SQLite walks from the first one on; the other tells it that a partial index will do.
    "changed": f"""
        SELECT {_SELECT} FROM chat_messages AS x
        WHERE channel_id = ? AND change > ? AND change > 0 ORDER BY change LIMIT ?
    """,  # noqa: S608
    "recent_members": "SELECT channel_id, user_id FROM chat_members WHERE create_time >= ?",
    "recent_departures": "SELECT channel_id, user_id FROM chat_departures WHERE create_time >= ?",
}
_STANDING_NAMES = "id, epoch, last_seq, history_start_seq, joined_seq, last_change, change"
_NAMES = {
    "standings": _STANDING_NAMES,
    "standing": _STANDING_NAMES,
    "recent_members": "channel_id, user_id",
    "recent_departures": "channel_id, user_id",
}


def _sqlite_reads() -> dict[str, str]:
    """The reads with all their rows in one JSON text.

    Stepping through rows one by one would release the GIL for each, and a thread that waits for the
    GIL beside a busy event loop gets it back only after the switch interval.
    """
    # What is JSON by itself is text again once it has passed a subquery.
    message = _MESSAGE.replace("rest", "json(rest)")
    return {
        name: f"SELECT json_group_array(json_array({_NAMES.get(name, message)})) FROM ("  # noqa: S608
        + sql.replace("<rest>", SQLITE_REST)
        + ")"
        for name, sql in _READS.items()
    }


def _postgresql_reads() -> dict[str, str]:
    return {
        name: sql.replace("?", "%s").replace("<rest>", POSTGRESQL_REST)
        for name, sql in _READS.items()
    }


SQLITE = Statements(
    kind="sqlite",
    begin="BEGIN IMMEDIATE",
    # BEGIN IMMEDIATE has locked the whole database, so reading is enough.
    lock_channels=f"""
        SELECT json_group_array(json_array(c.id, c.epoch, c.last_seq, {_CLOSED}))
        FROM json_each(?) AS k CROSS JOIN chat_channels AS c ON c.id = k.value ->> 0
    """,  # noqa: S608
    look_up_sends=f"""
        SELECT json_group_array(json_array(
            k.value ->> 0, m.user_id IS NOT NULL, x.id, x.channel_id, x.seq, x.text, x.create_time,
            x.fingerprint, {SQLITE_REST}))
        FROM json_each(?) AS k
        LEFT JOIN chat_members AS m
            ON m.channel_id = k.value ->> 1 AND m.user_id = k.value ->> 2
        LEFT JOIN chat_messages AS x
            ON x.sender_id = k.value ->> 2 AND x.client_id = k.value ->> 3
    """,  # noqa: S608
    insert_messages="""
        INSERT INTO chat_messages
            (id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time, folded)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 'TEXT',
            value ->> 5, value ->> 6, value ->> 6, value ->> 7
        FROM json_each(?)
    """,
    insert_special="""
        INSERT INTO chat_messages
            (id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time,
            special, folded, fingerprint, attachments, mentions, reply_to_id, thread_id)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6, value ->> 7, value ->> 7,
            TRUE, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
        FROM json_each(?)
    """,
    count_replies="""
        UPDATE chat_messages SET special = TRUE, reply_count = reply_count + (k.value ->> 1)
        FROM json_each(?) AS k WHERE chat_messages.id = k.value ->> 0
    """,
    advance_channels="""
        UPDATE chat_channels SET last_seq = k.value ->> 1, update_time = k.value ->> 2
        FROM json_each(?) AS k WHERE chat_channels.id = k.value ->> 0
    """,
    heads="""
        SELECT json_group_array(json_array(c.id, c.epoch, c.last_seq, c.last_change))
        FROM json_each(?) AS k CROSS JOIN chat_channels AS c ON c.id = k.value ->> 0
    """,
    read_marks="""
        SELECT json_group_array(json_array(r.channel_id, c.epoch, r.user_id, r.last_read_seq,
            r.last_delivered_seq, coalesce(r.unread_from_seq, 0)))
        FROM json_each(?) AS k
        CROSS JOIN chat_reads AS r ON r.channel_id = k.value ->> 0
        CROSS JOIN chat_channels AS c ON c.id = r.channel_id
    """,
    standings_of=f"""
        SELECT json_group_array(json_array(m.user_id, {_STANDING_COLUMNS}))
        FROM json_each(?) AS k
        CROSS JOIN chat_members AS m ON m.channel_id = k.value ->> 0 AND m.user_id = k.value ->> 1
        CROSS JOIN chat_channels AS c ON c.id = m.channel_id
    """,  # noqa: S608
    standings_among=f"""
        SELECT json_group_array(json_array({_STANDING_COLUMNS}))
        FROM json_each(?2) AS k
        CROSS JOIN chat_members AS m ON m.channel_id = k.value ->> 0 AND m.user_id = ?1
        CROSS JOIN chat_channels AS c ON c.id = m.channel_id
    """,  # noqa: S608
    **_sqlite_reads(),
)

# LATERAL with LIMIT keeps the planner to one index look-up a row: for a hash join it would read the whole
# table, which is cheaper only while that is small.
POSTGRESQL = Statements(
    kind="postgresql",
    begin="",
    lock_channels=f"""
        BEGIN; SELECT c.id, c.epoch, c.last_seq, {_CLOSED} FROM chat_channels AS c
        WHERE c.id = ANY(%s) ORDER BY c.id FOR UPDATE
    """,  # noqa: S608
    look_up_sends=f"""
        SELECT k.number, (m.found IS NOT NULL)::int,
            x.id, x.channel_id, x.seq, x.text, x.create_time, x.fingerprint, x.rest
        FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[])
            AS k(number, channel_id, sender_id, client_id)
        LEFT JOIN LATERAL (
            SELECT 1 AS found FROM chat_members
            WHERE channel_id = k.channel_id AND user_id = k.sender_id LIMIT 1
        ) AS m ON true
        LEFT JOIN LATERAL (
            SELECT id, channel_id, seq, text, create_time, fingerprint, {POSTGRESQL_REST} AS rest
            FROM chat_messages AS x
            WHERE sender_id = k.sender_id AND client_id = k.client_id LIMIT 1
        ) AS x ON true
    """,  # noqa: S608
    insert_messages="""
        INSERT INTO chat_messages
            (id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time, folded)
        SELECT k.id, k.channel_id, k.seq, k.sender_id, k.client_id, 'TEXT', k.text, k.time, k.time,
            k.folded
        FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[],
            %s::bigint[], %s::text[])
            AS k(id, channel_id, seq, sender_id, client_id, text, time, folded)
    """,
    insert_special="""
        INSERT INTO chat_messages
            (id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time,
            special, folded, fingerprint, attachments, mentions, reply_to_id, thread_id)
        SELECT k.id, k.channel_id, k.seq, k.sender_id, k.client_id, k.type, k.text, k.time, k.time,
            TRUE, k.folded, k.fingerprint, k.attachments, k.mentions, k.reply_to_id, k.thread_id
        FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[],
            %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::text[])
            AS k(id, channel_id, seq, sender_id, client_id, type, text, time, folded, fingerprint,
                attachments, mentions, reply_to_id, thread_id)
    """,
    count_replies="""
        UPDATE chat_messages SET special = TRUE, reply_count = reply_count + k.more
        FROM unnest(%s::text[], %s::bigint[]) AS k(id, more) WHERE chat_messages.id = k.id
    """,
    advance_channels="""
        UPDATE chat_channels SET last_seq = k.last_seq, update_time = k.time
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS k(id, last_seq, time)
        WHERE chat_channels.id = k.id
    """,
    heads="SELECT id, epoch, last_seq, last_change FROM chat_channels WHERE id = ANY(%s)",
    read_marks="""
        SELECT r.channel_id, c.epoch, r.user_id, r.last_read_seq, r.last_delivered_seq,
            coalesce(r.unread_from_seq, 0)
        FROM chat_reads AS r JOIN chat_channels AS c ON c.id = r.channel_id
        WHERE r.channel_id = ANY(%s)
    """,
    standings_of=f"""
        SELECT m.user_id, {_STANDING_COLUMNS}
        FROM unnest(%s::text[], %s::text[]) AS k(channel_id, user_id)
        JOIN chat_members AS m ON m.channel_id = k.channel_id AND m.user_id = k.user_id
        JOIN chat_channels AS c ON c.id = m.channel_id
    """,  # noqa: S608
    standings_among=f"{_STANDING} WHERE m.user_id = %s AND m.channel_id = ANY(%s)",
    **_postgresql_reads(),
)


def statements_for(kind: str) -> Statements:
    """The texts for ``Database.kind``."""
    return SQLITE if kind == "sqlite" else POSTGRESQL
