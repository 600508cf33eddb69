"""The rows behind the jobs: every statement that touches the tables ``jobs`` and ``job_schedules``."""

from collections.abc import Mapping, Sequence
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


_DUE = "(state = 'READY' AND run_at <= ?) OR (state = 'RUNNING' AND lease_until <= ?)"


def any_due(_unit: Unit, now: datetime) -> bool:
    """Whether a claim would find something; a read, so that an idle queue writes nothing."""
    moment = microseconds(now)
    row = _execute(f"SELECT 1 FROM jobs WHERE {_DUE} LIMIT 1", moment, moment).fetchone()
    return row is not None


def claim(unit: Unit, kinds: Sequence[str], leases: Mapping[str, datetime]) -> Claimed | None:
    """Takes the job that has been due the longest, of a kind that is known here."""
    now = microseconds(unit.now)
    marks = ", ".join("?" for _ in kinds)
    lock = "FOR UPDATE SKIP LOCKED" if database.obj.for_update else ""
    found = _execute(
        f"SELECT id, kind FROM jobs WHERE ({_DUE}) AND kind IN ({marks}) "
        f"ORDER BY run_at, id LIMIT 1 {lock}",
        now,
        now,
        *kinds,
    ).fetchone()
    if found is None:
        return None
    row = _execute(
        "UPDATE jobs SET state = 'RUNNING', attempts = attempts + 1, fence = fence + 1, "
        "lease_until = ?, update_time = ? WHERE id = ? "
        "RETURNING id, kind, arguments, attempts, fence",
        microseconds(leases[found[1]]),
        now,
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
