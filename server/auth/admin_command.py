"""What ``python -m server admin create`` does: it makes the first super_admin, and nothing else
in the system does. It works on the database alone, beside a server that runs or without one."""

import asyncio
import re
from dataclasses import dataclass
from functools import partial

from server.auth.audit import write_audit_row
from server.auth.passwords import Passwords
from server.auth.rules import fold_email
from server.auth.usecases.new_accounts import create_first_admin
from server.core import schema
from server.core.caller import CallContext, Caller
from server.core.clock import SystemClock
from server.core.config import Settings
from server.core.db import Database
from server.core.errors import InvalidArgument
from server.core.hashing import HashPool
from server.core.ids import new_secret

LONGEST_PASSWORD = 1024
"""Bytes that a password may have."""

_ADDRESS = re.compile(r"[^@\s,;<>\"]{1,64}@[^@\s,;<>\"]+\.[^@\s,;<>\".]+")
_OPERATOR = CallContext(caller=Caller(kind="operator"), method="python -m server admin create")


class AddressInvalid(InvalidArgument):
    """What was given is no mail address."""

    message = "This is not a mail address."


class PasswordTooLong(InvalidArgument):
    """The password has more than 1,024 bytes."""

    message = "The password has more than 1,024 bytes."


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The account that was made; ``password`` is empty when it was given, and otherwise known to
    nobody else."""

    user_id: str
    email: str
    password: str


def create_admin(settings: Settings, email: str, password: str | None) -> FirstAdmin:
    """Makes the account, with a password of 144 random bits when none is given.

    Raises what the use case refuses, ``PasswordTooWeak`` for a password that is easy to guess, and
    ``SchemaOutdated`` when the database is not ready.
    """
    address = fold_email(email)
    if len(address) > 254 or not _ADDRESS.fullmatch(address):
        raise AddressInvalid
    chosen = new_secret(18) if password is None else password
    if len(chosen.encode(errors="surrogateescape")) > LONGEST_PASSWORD:
        raise PasswordTooLong
    schema.require_current(settings.database_url)
    hashed = asyncio.run(_hash_of(settings, chosen, address))
    database = Database.open(settings, SystemClock())
    try:
        database.audit_sink = write_audit_row
        work = partial(create_first_admin, email=address, password_hash=hashed)
        user_id = database.run_here(work, write=True, context=_OPERATOR)
        database.close_here()
    finally:
        database.close()
    return FirstAdmin(user_id, address, chosen if password is None else "")


async def _hash_of(settings: Settings, password: str, email: str) -> str:
    pool = HashPool(1, 1)
    try:
        return await Passwords(pool, settings.bcrypt_cost).accept(password, (email,))
    finally:
        pool.close()
