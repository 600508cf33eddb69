"""What staff need of accounts and sign-ups: language, search, who decided, and the permissions to."""

import json
import unicodedata
from typing import Any

import peewee

_COLUMNS = (
    "ALTER TABLE users ADD COLUMN language TEXT NOT NULL DEFAULT ''",
    # What a search looks at: lower() does not mean the same on both databases.
    "ALTER TABLE users ADD COLUMN search_text TEXT NOT NULL DEFAULT ''",
    # Who deleted the account, and the status that it had: UndeleteUser needs both.
    "ALTER TABLE users ADD COLUMN deleted_by TEXT",
    "ALTER TABLE users ADD COLUMN status_before TEXT",
    "ALTER TABLE registrations ADD COLUMN search_text TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE registrations ADD COLUMN reason TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE registrations ADD COLUMN decided_by TEXT",
    "ALTER TABLE registrations ADD COLUMN decided_at BIGINT",
)

_INDEXES = (
    "CREATE INDEX users_create_time ON users (create_time, id)",
    "CREATE INDEX users_display_name ON users (display_name, id)",
    "CREATE INDEX users_purge ON users (purge_at) WHERE purge_at IS NOT NULL",
    "CREATE INDEX users_suspended ON users (suspended_until) WHERE suspended_until IS NOT NULL",
    "CREATE INDEX registrations_create_time ON registrations (create_time, id)",
)

_ADDED = {
    "admin": {"auth.registrations.read", "auth.roles.read", "auth.roles.write"},
    "super_admin": {"auth.registrations.read", "auth.roles.read"},
}


def up(migrator: Any, db: peewee.Database) -> None:
    """Adds the columns, fills in what is searched, and gives the permissions."""
    for statement in (*_COLUMNS, *_INDEXES):
        db.execute_sql(statement)
    _fill(db, "users", "display_name", "email", "username", "phone")
    _fill(db, "registrations", "name", "email")
    _change_permissions(db, lambda held, added: held | added)


def _fill(db: peewee.Database, table: str, *columns: str) -> None:
    mark = db.param
    found = db.execute_sql(f"SELECT id, {', '.join(columns)} FROM {table}").fetchall()
    for row_id, *parts in found:
        text = "\n".join(part for part in parts if part)
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        statement = f"UPDATE {table} SET search_text = {mark} WHERE id = {mark}"
        db.execute_sql(statement, (folded, row_id))


def _change_permissions(db: peewee.Database, change: Any) -> None:
    mark = db.param
    for name, added in _ADDED.items():
        found = db.execute_sql(f"SELECT permissions FROM roles WHERE name = {mark}", (name,))
        held = set(json.loads(found.fetchone()[0]))
        text = json.dumps(sorted(change(held, added)), separators=(",", ":"))
        db.execute_sql(
            f"UPDATE roles SET permissions = {mark} WHERE name = {mark}",
            (text, name),
        )


def down(migrator: Any, db: peewee.Database) -> None:
    """Takes it all away."""
    _change_permissions(db, lambda held, added: held - added)
    for index in (
        "users_create_time",
        "users_display_name",
        "users_purge",
        "users_suspended",
        "registrations_create_time",
    ):
        db.execute_sql(f"DROP INDEX {index}")
    for table, columns in (
        ("users", ("language", "search_text", "deleted_by", "status_before")),
        ("registrations", ("search_text", "reason", "decided_by", "decided_at")),
    ):
        for column in columns:
            db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
