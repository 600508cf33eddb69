"""Departures outlive whoever left: those whose accounts are erased leave like anybody else."""

from typing import Any

import peewee

_TABLE = """
    CREATE TABLE {name} (
        channel_id TEXT NOT NULL REFERENCES chat_channels (id) ON DELETE CASCADE,
        user_id TEXT NOT NULL {owner},
        change BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        PRIMARY KEY (channel_id, user_id)
    )
"""
_OWNER = "REFERENCES users (id) ON DELETE CASCADE"
_COLUMNS = "channel_id, user_id, change, create_time, update_time"
_INDEXES = (
    "CREATE INDEX chat_departures_change ON chat_departures (channel_id, change)",
    "CREATE INDEX chat_departures_user ON chat_departures (user_id)",
    "CREATE INDEX chat_departures_create_time ON chat_departures (create_time)",
)


def up(migrator: Any, db: peewee.Database) -> None:
    """Takes the foreign key away."""
    if isinstance(db, peewee.SqliteDatabase):
        _rebuild(db, "")
    else:
        db.execute_sql("ALTER TABLE chat_departures DROP CONSTRAINT chat_departures_user_id_fkey")


def down(migrator: Any, db: peewee.Database) -> None:
    """Puts it back, without the departures of those who are no more."""
    db.execute_sql("DELETE FROM chat_departures WHERE user_id NOT IN (SELECT id FROM users)")
    if isinstance(db, peewee.SqliteDatabase):
        _rebuild(db, _OWNER)
    else:
        db.execute_sql(
            "ALTER TABLE chat_departures ADD CONSTRAINT chat_departures_user_id_fkey "
            f"FOREIGN KEY (user_id) {_OWNER}"
        )


def _rebuild(db: peewee.Database, owner: str) -> None:
    """SQLite changes no constraint of a table that is there."""
    db.execute_sql(_TABLE.format(name="chat_departures_new", owner=owner))
    db.execute_sql(
        f"INSERT INTO chat_departures_new ({_COLUMNS}) SELECT {_COLUMNS} FROM chat_departures"
    )
    db.execute_sql("DROP TABLE chat_departures")
    db.execute_sql("ALTER TABLE chat_departures_new RENAME TO chat_departures")
    for statement in _INDEXES:
        db.execute_sql(statement)
