"""Channels, their members, messages and read marks."""

from typing import Any

_TABLES = (
    """
    CREATE TABLE chat_channels (
        id TEXT NOT NULL PRIMARY KEY,
        type TEXT NOT NULL CHECK (type IN ('DIRECT', 'ORDER', 'GROUP', 'TICKET')),
        direct_key TEXT UNIQUE,
        epoch BIGINT NOT NULL DEFAULT 1 CHECK (epoch > 0),
        last_seq BIGINT NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
        history_start_seq BIGINT NOT NULL DEFAULT 0 CHECK (history_start_seq BETWEEN 0 AND last_seq),
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        CHECK ((type = 'DIRECT') = (direct_key IS NOT NULL))
    )
    """,
    """
    CREATE TABLE chat_members (
        channel_id TEXT NOT NULL REFERENCES chat_channels (id) ON DELETE CASCADE,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        role TEXT NOT NULL DEFAULT 'MEMBER' CHECK (role IN ('MEMBER', 'ADMIN')),
        mute_until BIGINT,
        joined_seq BIGINT NOT NULL DEFAULT 0,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (channel_id, user_id)
    )
    """,
    "CREATE INDEX chat_members_user ON chat_members (user_id, channel_id)",
    # New members of the last seconds are looked for, should the news of one have been lost.
    "CREATE INDEX chat_members_create_time ON chat_members (create_time)",
    # No foreign keys: each would be checked per message, and the transaction that inserts a message
    # holds its channel's lock and has just found the sender among the members, who have them.
    """
    CREATE TABLE chat_messages (
        id TEXT NOT NULL PRIMARY KEY,
        channel_id TEXT NOT NULL,
        seq BIGINT NOT NULL,
        sender_id TEXT NOT NULL,
        client_id TEXT NOT NULL,
        type TEXT NOT NULL,
        text TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        UNIQUE (channel_id, seq),
        UNIQUE (sender_id, client_id)
    )
    """,
    """
    CREATE TABLE chat_reads (
        channel_id TEXT NOT NULL REFERENCES chat_channels (id) ON DELETE CASCADE,
        user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        last_read_seq BIGINT NOT NULL DEFAULT 0,
        last_delivered_seq BIGINT NOT NULL DEFAULT 0,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (channel_id, user_id)
    )
    """,
    "CREATE INDEX chat_reads_user ON chat_reads (user_id)",
)


def up(migrator: Any, db: Any) -> None:
    for statement in _TABLES:
        db.execute_sql(statement)


def down(migrator: Any, db: Any) -> None:
    for table in ("chat_reads", "chat_messages", "chat_members", "chat_channels"):
        db.execute_sql(f"DROP TABLE {table}")
