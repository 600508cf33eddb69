"""The audit log: rows inserted with their effect, and chained by hashes within seconds.

A row is written in the unit of what it tells of. A sealer then gives the rows their place in a
chain: ``hash`` is the SHA-256 over the row, its ``seq`` and the hash before it, so that nobody can
change, drop or swap a sealed row without breaking every hash after it. The head of the chain stands
in a row of its own, so that dropping the newest rows shows as well.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.auth.models import AuditChain, AuditEvent
from server.core.db import Database, locked, sql
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.unit import Unit

SEAL_SECONDS = 1.0
"""How often a sealer looks for new rows, so that each is sealed within five seconds."""

_BATCH = 500

_INSERT = """
INSERT INTO audit_events (id, create_time, actor_kind, actor_id, session_id, action, resource, result,
    ip, user_agent, request_id, method, metadata)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_UNSEALED = "SELECT 1 FROM audit_events WHERE seq IS NULL LIMIT 1"
_PLACE = "UPDATE audit_events SET seq = ?, prev_hash = ?, hash = ? WHERE id = ?"


def write_audit_row(
    unit: Unit,
    action: str,
    *,
    resource: str,
    result: str,
    actor_id: str | None,
    metadata: Mapping[str, Any],
) -> None:
    """The audit sink: one row in the unit's transaction. Metadata may hold ids and names of states,
    never a secret."""
    caller = unit.caller
    sql(
        _INSERT,
        new_id(),
        microseconds(unit.now),
        caller.kind,
        actor_id or caller.user_id or None,
        caller.session_id or None,
        action,
        resource,
        result,
        unit.address,
        unit.user_agent[:512],
        unit.request_id,
        unit.context.method,
        orjson.dumps(dict(metadata), option=orjson.OPT_SORT_KEYS, default=str).decode(),
    )


def has_unsealed(unit: Unit) -> bool:
    """True when some row has no place in the chain yet."""
    return sql(_UNSEALED).fetchone() is not None


def seal(unit: Unit) -> int:
    """Chains the oldest rows that wait for it; how many there were, at most 500."""
    head = locked(AuditChain.select()).get()
    rows = list(
        AuditEvent.select().where(AuditEvent.seq.is_null()).order_by(AuditEvent.id).limit(_BATCH)
    )
    for row in rows:
        head.seq += 1
        digest = link_hash(row, head.seq, head.hash)
        sql(_PLACE, head.seq, head.hash, digest, row.id)
        head.hash = digest
    if rows:
        head.save()
    return len(rows)


def link_hash(row: AuditEvent, seq: int, prev_hash: str) -> str:
    """SHA-256 over the canonical form of a row in its place, in hexadecimal."""
    content = [
        seq,
        prev_hash,
        row.id,
        microseconds(row.create_time),
        row.actor_kind,
        row.actor_id,
        row.session_id,
        row.action,
        row.resource,
        row.result,
        row.ip,
        row.user_agent,
        row.request_id,
        row.method,
        row.metadata,
    ]
    return hashlib.sha256(orjson.dumps(content)).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a walk along the chain found; ``problem`` is empty when every link holds. ``head`` is
    the hash of the last row that holds, which stands for all rows up to it."""

    sealed: int
    unsealed: int
    problem: str = ""
    head: str = field(default="", compare=False)


def verify_chain(unit: Unit) -> ChainReport:
    """Walks the chain from its first row to its head and stops at the first link that is broken.

    To be run on one snapshot (``serializable``), or a sealer at work looks like a tampered head.
    """
    seq, hashed = 0, ""
    before = AuditEvent.select(AuditEvent.id).where(AuditEvent.seq < 1).first()
    if before is not None:
        return _report(unit, seq, f"row {before.id} stands before the first", hashed)
    while True:
        rows = list(
            AuditEvent.select().where(AuditEvent.seq > seq).order_by(AuditEvent.seq).limit(_BATCH)
        )
        for row in rows:
            if row.seq != seq + 1:
                return _report(unit, seq, f"row {seq + 1} is missing", hashed)
            if row.prev_hash != hashed or row.hash != link_hash(row, row.seq, hashed):
                return _report(unit, seq, f"row {row.seq} ({row.id}) was changed or moved", hashed)
            seq, hashed = row.seq, row.hash
        if len(rows) < _BATCH:
            break
    head = AuditChain.get()
    if (head.seq, head.hash) != (seq, hashed):
        text = f"the head of the chain is at {head.seq}, its last row at {seq}"
        return _report(unit, seq, text, hashed)
    return _report(unit, seq, "", hashed)


def _report(unit: Unit, sealed: int, problem: str, head: str) -> ChainReport:
    unsealed = AuditEvent.select().where(AuditEvent.seq.is_null()).count()
    return ChainReport(sealed, unsealed, problem, head)


class AuditSealer:
    """Seals what has been written. Several may run at once: the head of the chain is locked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def seal_all(self) -> int:
        """Seals everything that waits for it; how many rows that were."""
        sealed = 0
        while await self._database.run(has_unsealed, write=False):
            sealed += await self._database.run(seal, write=True)
        return sealed
