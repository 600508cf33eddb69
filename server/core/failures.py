"""What a driver's error means: try again, answer in a stable way, or let it through."""

import sqlite3
from enum import Enum

import peewee
import psycopg2

DRIVER_ERRORS = (peewee.PeeweeException, psycopg2.Error, sqlite3.Error)


class Verdict(Enum):
    """What is to be done about an error of the database."""

    RETRY = "the transaction lost against another one: run it again"
    DUPLICATE = "a unique violation, which under SERIALIZABLE may be a lost race"
    CONFLICT = "somebody holds what it needs: ABORTED"
    TIMEOUT = "the statement took too long: DEADLINE_EXCEEDED"
    LOST = "the connection is gone: UNAVAILABLE, unless a new one helps"
    BROKEN = "the storage does not work: UNAVAILABLE"
    OURS = "our own mistake: let it through"


_BY_STATE = {
    "40001": Verdict.RETRY,
    "40P01": Verdict.RETRY,
    "23505": Verdict.DUPLICATE,
    "55P03": Verdict.CONFLICT,
    "57014": Verdict.TIMEOUT,
    "57P01": Verdict.LOST,
    "57P02": Verdict.LOST,
    "57P03": Verdict.LOST,
    "57P05": Verdict.LOST,
    "53300": Verdict.LOST,
    "25P03": Verdict.LOST,
    "53100": Verdict.BROKEN,
    "53200": Verdict.BROKEN,
    "58030": Verdict.BROKEN,
}

_BY_RESULT = {
    sqlite3.SQLITE_BUSY: Verdict.CONFLICT,
    sqlite3.SQLITE_LOCKED: Verdict.CONFLICT,
    sqlite3.SQLITE_FULL: Verdict.BROKEN,
    sqlite3.SQLITE_IOERR: Verdict.BROKEN,
    sqlite3.SQLITE_CANTOPEN: Verdict.BROKEN,
}


def verdict_on(error: BaseException) -> Verdict:
    """Judges an error of Peewee or of the driver beneath it."""
    # Peewee's own error holds the driver's.
    original = getattr(error, "orig", None) or error
    if isinstance(original, psycopg2.Error):
        return _on_postgresql(original)
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", None)
        return Verdict.OURS if code is None else _BY_RESULT.get(code & 0xFF, Verdict.OURS)
    return Verdict.OURS


def _on_postgresql(error: psycopg2.Error) -> Verdict:
    state = error.pgcode
    if state is not None:
        if state.startswith("08"):
            return Verdict.LOST
        return _BY_STATE.get(state, Verdict.OURS)
    # Without a state the server did not speak: the connection failed, or was closed under us.
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return Verdict.LOST
    return Verdict.LOST if type(error) is psycopg2.DatabaseError else Verdict.OURS
