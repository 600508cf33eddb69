"""All that conversations hold beyond plain messages: groups, changes, reactions, search, presence."""

import json
from typing import Any

import peewee

from server.core.text_search import folded

_CHANNEL_COLUMNS = (
    "title TEXT NOT NULL DEFAULT ''",
    "description TEXT NOT NULL DEFAULT ''",
    "avatar_media_id TEXT",
    "created_by TEXT REFERENCES users (id) ON DELETE SET NULL",
    # No foreign keys: orders and tickets are other modules' rows.
    "order_id TEXT",
    "ticket_id TEXT",
    "last_change BIGINT NOT NULL DEFAULT 0",
    "info_change BIGINT NOT NULL DEFAULT 0",
    "archived_at BIGINT",
    "blocked BOOLEAN NOT NULL DEFAULT FALSE",
)

_MESSAGE_COLUMNS = (
    "special BOOLEAN NOT NULL DEFAULT FALSE",
    "folded TEXT",
    "fingerprint TEXT",
    "attachments TEXT",
    "mentions TEXT",
    "reply_to_id TEXT",
    "thread_id TEXT",
    "reply_count BIGINT NOT NULL DEFAULT 0",
    "reactions TEXT",
    "change BIGINT NOT NULL DEFAULT 0",
    "edit_time BIGINT",
    "delete_time BIGINT",
    "deleted_by TEXT",
)

_TABLES = (
    "CREATE UNIQUE INDEX chat_channels_order ON chat_channels (order_id)",
    "CREATE UNIQUE INDEX chat_channels_ticket ON chat_channels (ticket_id)",
    "CREATE INDEX chat_channels_created_by ON chat_channels (created_by)",
    "CREATE INDEX chat_messages_change ON chat_messages (channel_id, change) WHERE change > 0",
    "CREATE INDEX chat_messages_thread ON chat_messages (thread_id, seq) WHERE thread_id IS NOT NULL",
    "ALTER TABLE chat_members ADD COLUMN change BIGINT NOT NULL DEFAULT 0",
    "CREATE INDEX chat_members_change ON chat_members (channel_id, change) WHERE change > 0",
    "ALTER TABLE chat_reads ADD COLUMN unread_from_seq BIGINT",
    # Who was a member: streams and clients that were away hear of it from here.
    """
    CREATE TABLE chat_departures (
        channel_id TEXT NOT NULL REFERENCES chat_channels (id) ON DELETE CASCADE,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        change BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (channel_id, user_id)
    )
    """,
    "CREATE INDEX chat_departures_change ON chat_departures (channel_id, change)",
    "CREATE INDEX chat_departures_user ON chat_departures (user_id)",
    "CREATE INDEX chat_departures_create_time ON chat_departures (create_time)",
    """
    CREATE TABLE chat_edits (
        id TEXT NOT NULL PRIMARY KEY,
        message_id TEXT NOT NULL,
        text TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL
    )
    """,
    "CREATE INDEX chat_edits_message ON chat_edits (message_id, id)",
    """
    CREATE TABLE chat_reactions (
        message_id TEXT NOT NULL,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        emoji TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (message_id, user_id, emoji)
    )
    """,
    "CREATE INDEX chat_reactions_user ON chat_reactions (user_id)",
    # A row for each server process that serves a stream of the user; processes renew what they vouch for.
    """
    CREATE TABLE chat_presence (
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        process_id TEXT NOT NULL,
        seen_at BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (user_id, process_id)
    )
    """,
    "CREATE INDEX chat_presence_process ON chat_presence (process_id)",
    "CREATE INDEX chat_presence_update_time ON chat_presence (update_time)",
)

_MESSAGES = """
    id TEXT NOT NULL {key},
    channel_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    sender_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    type TEXT NOT NULL,
    text TEXT NOT NULL,
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
"""
_PLAIN = "id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time"

# What is searched for stands in `folded` where the text is not just that: words between blanks. In the index
# each word begins with the end of its channel's id, so that a search never walks through what was said
# elsewhere; `server/core/text_search.py` makes the words and the conditions.
_WORDS = """
    substr({row}.channel_id, -8)
    || replace(coalesce({row}.folded, {row}.text), ' ', ' ' || substr({row}.channel_id, -8))
"""
_PUT = f"""
    INSERT INTO chat_search (rowid, text)
    SELECT new.place, {_WORDS.format(row="new")} WHERE coalesce(new.folded, new.text) <> '';
"""
# Without a copy of the text, the index has to be told what it is to forget.
_TAKE = f"""
    INSERT INTO chat_search (chat_search, rowid, text)
    SELECT 'delete', old.place, {_WORDS.format(row="old")} WHERE coalesce(old.folded, old.text) <> '';
"""
_SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE chat_search USING fts5 "
    "(text, content = '', columnsize = 0, detail = none, tokenize = 'ascii')",
    f"CREATE TRIGGER chat_search_insert AFTER INSERT ON chat_messages BEGIN {_PUT} END",
    "CREATE TRIGGER chat_search_update AFTER UPDATE OF text, folded, channel_id ON chat_messages "
    f"BEGIN {_TAKE} {_PUT} END",
    f"CREATE TRIGGER chat_search_delete AFTER DELETE ON chat_messages BEGIN {_TAKE} END",
    f"""
    INSERT INTO chat_search (rowid, text)
    SELECT place, {_WORDS.format(row="m")} FROM chat_messages AS m WHERE coalesce(folded, text) <> ''
    """,
)
_POSTGRESQL_SEARCH = (
    """
    ALTER TABLE chat_messages ADD COLUMN search tsvector GENERATED ALWAYS AS (
        CASE WHEN coalesce(folded, text) <> '' THEN
            array_to_tsvector(string_to_array(right(channel_id, 8)
                || replace(coalesce(folded, text), ' ', ' ' || right(channel_id, 8)), ' '))
        END
    ) STORED
    """,
    # What waits to be sorted in (4 MB unless said) is read by every search, once for each channel: at 256 kB
    # that takes about a millisecond, and messages are still sorted in by the hundred.
    "CREATE INDEX chat_messages_search ON chat_messages USING gin (search) "
    "WITH (gin_pending_list_limit = 256)",
)
_STAFF = ("admin", "super_admin")
_PERMISSIONS = {"chat.channels.archive", "chat.messages.delete"}


def up(migrator: Any, db: peewee.Database) -> None:
    """Adds all of it; on SQLite messages get a number of their own, which the search refers to."""
    for column in _CHANNEL_COLUMNS:
        db.execute_sql(f"ALTER TABLE chat_channels ADD COLUMN {column}")
    if isinstance(db, peewee.SqliteDatabase):
        # VACUUM may number rows anew unless the number is a column.
        _rebuild(db, "place INTEGER PRIMARY KEY, ", "UNIQUE", _MESSAGE_COLUMNS)
    else:
        for column in _MESSAGE_COLUMNS:
            db.execute_sql(f"ALTER TABLE chat_messages ADD COLUMN {column}")
    for statement in _TABLES:
        db.execute_sql(statement)
    _fold(db)
    sqlite = isinstance(db, peewee.SqliteDatabase)
    for statement in _SQLITE_SEARCH if sqlite else _POSTGRESQL_SEARCH:
        db.execute_sql(statement)
    _change_permissions(db, lambda held: held | _PERMISSIONS)


def _fold(db: peewee.Database) -> None:
    """Makes the words of the messages that are there, a thousand at a time."""
    mark, last = db.param, ""
    while True:
        rows = db.execute_sql(
            f"SELECT id, text FROM chat_messages WHERE id > {mark} ORDER BY id LIMIT 1000", (last,)
        ).fetchall()
        if not rows:
            return
        for row_id, text in rows:
            words = folded(text)
            if words is not None:
                statement = f"UPDATE chat_messages SET folded = {mark} WHERE id = {mark}"
                db.execute_sql(statement, (words, row_id))
        last = rows[-1][0]


def _change_permissions(db: peewee.Database, change: Any) -> None:
    mark = db.param
    for name in _STAFF:
        found = db.execute_sql(f"SELECT permissions FROM roles WHERE name = {mark}", (name,))
        held = set(json.loads(found.fetchone()[0]))
        text = json.dumps(sorted(change(held)), separators=(",", ":"))
        statement = f"UPDATE roles SET permissions = {mark} WHERE name = {mark}"
        db.execute_sql(statement, (text, name))


def _rebuild(db: peewee.Database, first: str, key: str, more: tuple[str, ...]) -> None:
    columns = "".join(f"{column}, " for column in more)
    db.execute_sql(
        f"CREATE TABLE chat_messages_new ({first}{_MESSAGES.format(key=key)} {columns}"
        "UNIQUE (channel_id, seq), UNIQUE (sender_id, client_id))"
    )
    db.execute_sql(
        f"INSERT INTO chat_messages_new ({_PLAIN}) SELECT {_PLAIN} FROM chat_messages ORDER BY id"
    )
    db.execute_sql("DROP TABLE chat_messages")
    db.execute_sql("ALTER TABLE chat_messages_new RENAME TO chat_messages")


def down(migrator: Any, db: peewee.Database) -> None:
    """Takes it all away."""
    _change_permissions(db, lambda held: held - _PERMISSIONS)
    for table in ("chat_presence", "chat_reactions", "chat_edits", "chat_departures"):
        db.execute_sql(f"DROP TABLE {table}")
    for index in ("order", "ticket", "created_by"):
        db.execute_sql(f"DROP INDEX chat_channels_{index}")
    db.execute_sql("DROP INDEX chat_members_change")
    db.execute_sql("ALTER TABLE chat_members DROP COLUMN change")
    db.execute_sql("ALTER TABLE chat_reads DROP COLUMN unread_from_seq")
    if isinstance(db, peewee.SqliteDatabase):
        db.execute_sql("DROP TABLE chat_search")
        for trigger in ("insert", "update", "delete"):
            db.execute_sql(f"DROP TRIGGER chat_search_{trigger}")
        _rebuild(db, "", "PRIMARY KEY", ())
    else:
        db.execute_sql("ALTER TABLE chat_messages DROP COLUMN search")
        for column in _MESSAGE_COLUMNS:
            db.execute_sql(f"ALTER TABLE chat_messages DROP COLUMN {column.split()[0]}")
    for column in _CHANNEL_COLUMNS:
        db.execute_sql(f"ALTER TABLE chat_channels DROP COLUMN {column.split()[0]}")
