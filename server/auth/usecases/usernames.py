"""User names of accounts that begin: what was asked for may be somebody else's by then."""

import peewee

from server.auth.models import User
from server.auth.rules import NAMED_PERSONAS, username_from, username_variant
from server.core.unit import Unit


def name_wanted(persona: str, asked: str | None, display_name: str) -> str:
    """The user name that an account of this persona shall have: the one that was asked for, or one
    made of the display name where there has to be one. Empty where there need not be."""
    if asked:
        return asked
    return username_from(display_name) if persona in NAMED_PERSONAS else ""


def save_named(unit: Unit, user: User, wanted: str, *, is_new: bool = False) -> None:
    """Saves an account under a user name, or under a variant of it where another account has it, so
    that nobody who signs up is told which user names are taken.

    The database decides, since a look beforehand would miss whoever takes the name in this moment.
    ``peewee.IntegrityError`` when something else of the account is taken.
    """
    user.username = wanted or None
    if wanted:
        try:
            with unit.savepoint():
                user.save(force_insert=is_new)
            return
        except peewee.IntegrityError:
            user.username = username_variant(wanted, user.id)
    user.save(force_insert=is_new)
