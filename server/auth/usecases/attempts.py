"""Counts tries and sends in the database, so that the counts hold over parallel calls, several
servers and restarts."""

from dataclasses import dataclass

from server.auth.models import ContactSend, LoginAttempt, Session, User
from server.auth.rules import (
    ACCOUNT_LIMIT,
    ADDRESS_LIMIT,
    SENDS_PER_HOUR,
    AttemptLimit,
    Tally,
    after_send,
    counted,
    forgiven,
    network_of,
    wait_of,
)
from server.core.db import locked_or_new
from server.core.fields import instant, microseconds
from server.core.sealing import Keyring
from server.core.unit import Unit

_LIMITS = {"ACCOUNT": ACCOUNT_LIMIT, "ADDRESS": ADDRESS_LIMIT}


@dataclass(frozen=True, slots=True)
class Subjects:
    """Under which keys a try is counted."""

    account: str
    address: str


def subjects_of(
    unit: Unit, keyring: Keyring, user: User | None, identifier: str, address: str
) -> Subjects:
    """The keys of a log-in. An account is counted as one, whichever of its identifiers is tried; an
    unknown identifier is counted like an account. A network that has an open session of the account
    has a count of its own: an attack from elsewhere does not lock the owner out."""
    network = network_of(address)
    account = f"identifier:{identifier}" if user is None else f"user:{user.id}"
    if user is not None and _is_known(unit, user, address):
        account += f"@{network}"
    return Subjects(
        account=keyring.hmac("login-attempts", account.encode()).hex(),
        address=keyring.hmac("login-attempts", f"address:{network}".encode()).hex(),
    )


def account_subject(keyring: Keyring, user_id: str) -> str:
    """The key of an account's log-ins from networks that it has no open session on."""
    return keyring.hmac("login-attempts", f"user:{user_id}".encode()).hex()


def count_try(unit: Unit, subjects: Subjects) -> float:
    """Counts one try as failed before anybody looks at its password; returns 0. Where a subject has
    to wait it counts nothing and returns the seconds."""
    pairs = sorted([(subjects.account, "ACCOUNT"), (subjects.address, "ADDRESS")])
    rows = [_locked_row(unit, subject, kind) for subject, kind in pairs]
    wait = max(wait_of(row.tally, unit.now) for row in rows)
    if wait > 0:
        return wait
    for row in rows:
        row.keep(counted(row.tally, unit.now, _limit_of(row)), unit.now)
    return 0.0


def take_back(unit: Unit, subjects: Subjects) -> None:
    """After a right password: the account starts anew, its address gets this one try back."""
    for subject, kind in sorted([(subjects.account, "ACCOUNT"), (subjects.address, "ADDRESS")]):
        row = _locked_row(unit, subject, kind)
        row.keep(Tally() if kind == "ACCOUNT" else forgiven(row.tally), unit.now)


def may_send(
    unit: Unit, keyring: Keyring, contact: str, *, spaced: bool, most: int = SENDS_PER_HOUR
) -> bool:
    """Counts a mail to a contact and says whether it may leave (``rules.after_send``); the same
    work for every contact."""
    key = keyring.hmac("contact-sends", contact.encode()).hex()
    row = locked_or_new(ContactSend, {"contact": key}, update_time=unit.now)
    recent = [instant(stamp) for stamp in row.recent]
    kept = after_send(recent, unit.now, spaced=spaced, most=most)
    if kept is None:
        return False
    row.recent = [microseconds(sent) for sent in kept]
    row.update_time = unit.now
    row.save()
    return True


def _is_known(unit: Unit, user: User, address: str) -> bool:
    network = network_of(address)
    return any(network_of(ip) == network for ip in Session.open_addresses(user.id, unit.now))


def _locked_row(unit: Unit, subject: str, kind: str) -> LoginAttempt:
    return locked_or_new(LoginAttempt, {"subject": subject}, kind=kind, update_time=unit.now)


def _limit_of(row: LoginAttempt) -> AttemptLimit:
    return _LIMITS[row.kind]
