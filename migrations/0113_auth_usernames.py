"""The user name that somebody asks for when they sign up; it is nobody's until the sign-up is proven."""

from typing import Any

import peewee


def up(migrator: Any, db: peewee.Database) -> None:
    """Adds it. It is not unique: two may ask for the same one, and whoever is proven first has it."""
    db.execute_sql("ALTER TABLE registrations ADD COLUMN username TEXT")


def down(migrator: Any, db: peewee.Database) -> None:
    """Drops it."""
    db.execute_sql("ALTER TABLE registrations DROP COLUMN username")
