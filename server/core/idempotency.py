"""Replies kept under the request id of their call: a retry has one effect and one answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import peewee

from server.core.db import Model, TimestampField, sql
from server.core.fields import microseconds
from server.core.unit import Unit

LIFETIME = timedelta(hours=24)
"""How long a request id is remembered."""


class IdempotencyKey(Model):
    """One request id of one caller for one method; ``response`` is NULL until there is one."""

    caller = peewee.CharField(max_length=120)
    method = peewee.CharField(max_length=200)
    request_id = peewee.CharField(max_length=64)
    fingerprint = peewee.BlobField()
    response = peewee.BlobField(null=True)
    create_time = TimestampField()
    expire_time = TimestampField(index=True)

    class Meta:
        table_name = "idempotency_keys"
        primary_key = peewee.CompositeKey("caller", "method", "request_id")


@dataclass(frozen=True, slots=True)
class StoredReply:
    """What an earlier call under the same request id left behind."""

    fingerprint: bytes
    response: bytes | None


def claim(
    unit: Unit,
    method: str,
    request_id: str,
    fingerprint: bytes,
    *,
    lifetime: timedelta = LIFETIME,
) -> StoredReply | None:
    """Takes a request id for this unit: ``None`` when it is ours, so do the work and :func:`store`.

    Otherwise the reply of the call that had it. Of several units that claim one id at once, one has
    it and the others wait until that one is committed or rolled back. An expired id counts as new.
    """
    now = microseconds(unit.now)
    until = microseconds(unit.now + lifetime)
    key = (unit.caller.principal, method, request_id)
    if sql(_CLAIM, *key, fingerprint, now, until, now).fetchone() is not None:
        return None
    stored = sql(_FIND, *key).fetchone()
    return StoredReply(stored[0], stored[1])


def store(unit: Unit, method: str, request_id: str, response: bytes) -> None:
    """Keeps the encoded reply of the unit that has claimed the id; it commits with the effect."""
    sql(_STORE, response, unit.caller.principal, method, request_id)


def forget(unit: Unit, method: str, request_id: str) -> None:
    """Gives a claimed id back, in the same unit: for a refusal that commits and may be retried."""
    sql(_FORGET, unit.caller.principal, method, request_id)


def delete_expired(unit: Unit, limit: int = 1000) -> int:
    """Deletes up to ``limit`` ids whose time is over; returns how many."""
    return int(sql(_EXPIRE, microseconds(unit.now), limit).rowcount)


class _Run(Protocol):
    """The part of a job's run that the clean-up needs."""

    def run(self, work: Callable[[Unit], int], *, write: bool = True) -> Any:
        """Runs ``work`` in a unit of its own."""
        ...


def forget_expired(run: _Run) -> None:
    """The job that cleans up: small units, so that nobody waits for them."""
    while run.run(delete_expired, write=True):
        continue


_CLAIM = """
INSERT INTO idempotency_keys
    (caller, method, request_id, fingerprint, create_time, expire_time)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (caller, method, request_id) DO UPDATE
    SET fingerprint = excluded.fingerprint, response = NULL,
        create_time = excluded.create_time, expire_time = excluded.expire_time
    WHERE idempotency_keys.expire_time <= ?
RETURNING 1
"""
_FIND = """
SELECT fingerprint, response FROM idempotency_keys
WHERE caller = ? AND method = ? AND request_id = ?
"""
_STORE = """
UPDATE idempotency_keys SET response = ?
WHERE caller = ? AND method = ? AND request_id = ?
"""
_FORGET = "DELETE FROM idempotency_keys WHERE caller = ? AND method = ? AND request_id = ?"
_EXPIRE = """
DELETE FROM idempotency_keys WHERE (caller, method, request_id) IN
    (SELECT caller, method, request_id FROM idempotency_keys
     WHERE expire_time <= ? ORDER BY expire_time LIMIT ?)
"""
