"""The rows behind the jobs: every statement that touches the tables ``jobs`` and ``job_schedules``."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.core.db import database
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this process has taken."""

    id: str
    kind: str
    arguments: str
    attempts: int
    fence: int


def _execute(sql: str, *values: Any) -> Any:
    return database.execute_sql(sql.replace("?", database.obj.param), values)


def insert(unit: Unit, kind: str, arguments: str, run_at: datetime, key: str | None) -> None:
    """Adds a job unless an unfinished one has the key."""
    now = microseconds(unit.now)
    _execute(
        "INSERT INTO jobs (id, kind, arguments, key, state, run_at, create_time, update_time) "
        "VALUES (?, ?, ?, ?, 'READY', ?, ?, ?) "
        "ON CONFLICT (key) WHERE key IS NOT NULL AND state IN ('READY', 'RUNNING') DO NOTHING",
        new_id(),
        kind,
        arguments,
        key,
        microseconds(run_at),
        now,
        now,
    )


_ABANDONED = "state = 'RUNNING' AND lease_until <= ?"
_READY = "state = 'READY' AND run_at <= ?"


def _first_due(now: datetime, kinds: Collection[str], lock: str = "") -> Any:
    """Id and kind of a job to take: first what another runner has left, then by ``run_at``.

    Two statements and not one with OR, so that each walks its index and sorts nothing.
    """
    marks = ", ".join("?" for _ in kinds)
    for condition in (_ABANDONED, _READY) if kinds else ():
        found = _execute(
            f"SELECT id, kind FROM jobs WHERE {condition} AND kind IN ({marks}) "
            f"ORDER BY {'lease_until' if condition is _ABANDONED else 'run_at'}, id LIMIT 1 {lock}",
            microseconds(now),
            *kinds,
        ).fetchone()
        if found is not None:
            return found
    return None


def any_due(_unit: Unit, now: datetime, kinds: Collection[str]) -> bool:
    """Whether a claim would find something; a read, so that an idle queue writes nothing."""
    return _first_due(now, kinds) is not None


def claim(unit: Unit, leases: Mapping[str, datetime]) -> Claimed | None:
    """Takes the job that has been due the longest, of a kind that ``leases`` names."""
    lock = "FOR UPDATE SKIP LOCKED" if database.obj.for_update else ""
    found = _first_due(unit.now, leases, lock)
    if found is None:
        return None
    row = _execute(
        "UPDATE jobs SET state = 'RUNNING', attempts = attempts + 1, fence = fence + 1, "
        "lease_until = ?, update_time = ? WHERE id = ? "
        "RETURNING id, kind, arguments, attempts, fence",
        microseconds(leases[found[1]]),
        microseconds(unit.now),
        found[0],
    ).fetchone()
    return Claimed(*row)


def holds(_unit: Unit, job_id: str, fence: int) -> bool:
    """Whether the try with this fence still has the job; locks the row."""
    lock = "FOR UPDATE" if database.obj.for_update else ""
    row = _execute(
        f"SELECT 1 FROM jobs WHERE id = ? AND fence = ? AND state = 'RUNNING' {lock}",
        job_id,
        fence,
    ).fetchone()
    return row is not None


def extend(unit: Unit, job_id: str, fence: int, until: datetime) -> None:
    """Moves the end of a lease."""
    _execute(
        "UPDATE jobs SET lease_until = ?, update_time = ? "
        "WHERE id = ? AND fence = ? AND state = 'RUNNING'",
        microseconds(until),
        microseconds(unit.now),
        job_id,
        fence,
    )


def end(unit: Unit, job_id: str, fence: int, state: str, text: str) -> bool:
    """Finishes a job and clears its arguments when it is DONE; False when the lease was lost."""
    cleared = ", arguments = '{}'" if state == "DONE" else ""
    cursor = _execute(
        f"UPDATE jobs SET state = ?, last_error = ?, lease_until = NULL, update_time = ?{cleared} "
        "WHERE id = ? AND fence = ? AND state = 'RUNNING'",
        state,
        text,
        microseconds(unit.now),
        job_id,
        fence,
    )
    return bool(cursor.rowcount)


def release(unit: Unit, job_id: str, fence: int, again: datetime, text: str) -> None:
    """Gives a job back after a failed try, to be taken again later."""
    _execute(
        "UPDATE jobs SET state = 'READY', run_at = ?, last_error = ?, lease_until = NULL, "
        "update_time = ? WHERE id = ? AND fence = ? AND state = 'RUNNING'",
        microseconds(again),
        text,
        microseconds(unit.now),
        job_id,
        fence,
    )


def due_schedules(unit: Unit, schedules: Mapping[str, str]) -> list[str]:
    """Kinds whose next time has come, or whose schedule is new or was changed."""
    now = microseconds(unit.now)
    known = {
        kind: (cron, next_run_at)
        for kind, cron, next_run_at in _execute("SELECT kind, cron, next_run_at FROM job_schedules")
    }
    return [
        kind
        for kind, cron in schedules.items()
        if kind not in known or known[kind][0] != cron or known[kind][1] <= now
    ]


def advance_schedule(unit: Unit, kind: str, cron: str, upcoming: datetime) -> bool:
    """Notes when a kind runs next; True when the time that has passed is this caller's to enqueue."""
    now = microseconds(unit.now)
    moved = _execute(
        "UPDATE job_schedules SET next_run_at = ? WHERE kind = ? AND cron = ? AND next_run_at <= ?",
        microseconds(upcoming),
        kind,
        cron,
        now,
    )
    if moved.rowcount:
        return True
    _execute(
        "INSERT INTO job_schedules (kind, cron, next_run_at) VALUES (?, ?, ?) "
        "ON CONFLICT (kind) DO UPDATE SET cron = excluded.cron, "
        "next_run_at = excluded.next_run_at WHERE job_schedules.cron <> excluded.cron",
        kind,
        cron,
        microseconds(upcoming),
    )
    return False


def delete_done(_unit: Unit, before: datetime, limit: int = 1000) -> int:
    """Deletes up to ``limit`` finished jobs; returns how many."""
    cursor = _execute(
        "DELETE FROM jobs WHERE id IN "
        "(SELECT id FROM jobs WHERE state = 'DONE' AND update_time < ? LIMIT ?)",
        microseconds(before),
        limit,
    )
    return int(cursor.rowcount)
