"""`python -m server audit verify`, as a process, on a log that somebody has tampered with; and the
same check as a daily job."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.auth.audit import ChainReport, link_hash, seal, verify_chain
from server.auth.audit_command import JOB
from server.auth.models import AuditChain, AuditEvent
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit, module_of
from tests.support.serve import Greenroom

ROOT = Path(__file__).parents[3]
ROUNDS = int(os.environ.get("TAMPERS", "200"))
"""Tampered logs that are verified; 10,000 in the long run (make soak-audit)."""

BLANK = {"seq": None, "prev_hash": None, "hash": None}
Rows = list[AuditEvent]


def _write(row_id: str, **values: object) -> None:
    AuditEvent.update(values).where(AuditEvent.id == row_id).execute()


def _edit(rows: Rows, rounds: random.Random) -> None:
    row = rounds.choice(rows)
    fields = (
        "action",
        "actor_id",
        "actor_kind",
        "session_id",
        "resource",
        "result",
        "ip",
        "user_agent",
    )
    name = rounds.choice([*fields, "request_id", "method", "metadata", "hash", "prev_hash"])
    text = getattr(row, name) or ""
    at = rounds.randrange(len(text) + 1)
    _write(row.id, **{name: text[:at] + rounds.choice("x0 é") + text[at:]})


def _edit_and_link_anew(rows: Rows, rounds: random.Random) -> None:
    """Somebody knows how rows are hashed, and stops at the next one."""
    at = rounds.randrange(len(rows))
    row = rows[at]
    row.result = "OK" if row.result != "OK" else "REFUSED"
    hashed = link_hash(row, row.seq or 0, row.prev_hash or "")
    _write(row.id, result=row.result, hash=hashed)
    if at + 1 < len(rows):
        _write(rows[at + 1].id, prev_hash=hashed)


def _rename(rows: Rows, rounds: random.Random) -> None:
    _write(rounds.choice(rows).id, id=new_id())


def _delete(rows: Rows, rounds: random.Random) -> None:
    AuditEvent.delete().where(AuditEvent.id == rounds.choice(rows).id).execute()


def _delete_and_close_the_gap(rows: Rows, rounds: random.Random) -> None:
    at = rounds.randrange(len(rows) - 1)
    AuditEvent.delete().where(AuditEvent.id == rows[at].id).execute()
    for row in rows[at + 1 :]:
        _write(row.id, seq=row.seq - 1)


def _insert(rows: Rows, rounds: random.Random) -> None:
    """A row of somebody's own, well hashed, where there is room: past the end or before the start."""
    last = rows[-1]
    seq, prev = rounds.choice([(last.seq + 1, last.hash), (0, ""), (-7, "")])
    forged = AuditEvent(
        id=new_id(),
        create_time=last.create_time,
        actor_kind="user",
        action="session.log_in",
        actor_id=None,
        session_id=None,
        result="OK",
    )
    values = {**forged.__data__, "seq": seq, "prev_hash": prev}
    AuditEvent.insert({**values, "hash": link_hash(forged, seq, prev)}).execute()


def _insert_between(rows: Rows, rounds: random.Random) -> None:
    at = rounds.randrange(1, len(rows))
    for row in reversed(rows[at:]):
        _write(row.id, seq=row.seq + 1)
    values = {**rows[at].__data__, "id": new_id(), "seq": rows[at].seq}
    values["hash"] = link_hash(AuditEvent(**values), values["seq"], values["prev_hash"])
    AuditEvent.insert(values).execute()


def _reorder(rows: Rows, rounds: random.Random) -> None:
    one, other = rounds.sample(rows, 2)
    whole = rounds.random() < 0.5
    places = [
        {"seq": row.seq, "prev_hash": row.prev_hash, "hash": row.hash} for row in (other, one)
    ]
    if not whole:
        places = [{"seq": place["seq"]} for place in places]
    for row in (one, other):
        _write(row.id, **BLANK)
    for row, place in zip((one, other), places, strict=True):
        kept = {"prev_hash": row.prev_hash, "hash": row.hash}
        _write(row.id, **{**kept, **place})


def _truncate(rows: Rows, rounds: random.Random) -> None:
    doomed = [row.id for row in rows[-rounds.randint(1, len(rows)) :]]
    AuditEvent.delete().where(AuditEvent.id.in_(doomed)).execute()


def _unseal_the_tail(rows: Rows, rounds: random.Random) -> None:
    for row in rows[-rounds.randint(1, 5) :]:
        _write(row.id, **BLANK)


def _move_the_head(rows: Rows, rounds: random.Random) -> None:
    kept = rounds.choice(rows[:-1])
    values: dict[str, Any] = rounds.choice([{"seq": kept.seq}, {"hash": kept.hash}])
    AuditChain.update(values).execute()


TAMPERS: dict[str, Callable[[Rows, random.Random], None]] = {
    "edit": _edit,
    "edit and link anew": _edit_and_link_anew,
    "rename": _rename,
    "delete": _delete,
    "delete and close the gap": _delete_and_close_the_gap,
    "insert": _insert,
    "insert between": _insert_between,
    "reorder": _reorder,
    "truncate": _truncate,
    "unseal": _unseal_the_tail,
    "move the head": _move_the_head,
}


def _fill(unit: Unit) -> None:
    for number in range(40):
        unit.audit("test.fill", resource=f"things/{number}", actor_id=f"a{number}", number=number)


def _sealed_rows(_unit: Unit) -> Rows:
    return list(AuditEvent.select().where(AuditEvent.seq > 0).order_by(AuditEvent.seq))


@dataclass
class _Log:
    url: str
    folder: Path
    server: Greenroom

    def verify(self) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python/src'}",
        }
        settings = {"DATABASE_URL": self.url, "STATE_DIR": str(self.folder)}
        return subprocess.run(
            [sys.executable, "-m", "server", "audit", "verify"],
            env=environ | settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
async def log(server: Greenroom, database_url: str, tmp_path: Path) -> _Log:
    await in_unit(server, _fill, write=True)
    await module_of(server).sealer.seal_all()
    return _Log(database_url, tmp_path, server)


async def test_a_whole_log_is_ok(log: _Log) -> None:
    done = log.verify()
    assert done.returncode == 0, done.stderr
    report = await in_unit(log.server, verify_chain)
    assert done.stdout == f"OK: 40 events, 0 unsealed, head {report.head}\n"
    assert len(report.head) == 64


async def test_the_unsealed_tail_is_told(log: _Log) -> None:
    for ticker in module_of(log.server)._tickers:
        await ticker.stop()
    await in_unit(log.server, lambda unit: unit.audit("test.late"), write=True)
    done = log.verify()
    assert done.returncode == 0 and done.stdout.startswith("OK: 40 events, 1 unsealed, head ")


@pytest.mark.parametrize("name", ["edit", "delete", "insert", "reorder", "truncate"])
async def test_the_command_finds_a_broken_row(log: _Log, name: str) -> None:
    rounds = random.Random(name)

    def work(unit: Unit) -> None:
        TAMPERS[name](_sealed_rows(unit), rounds)

    await in_unit(log.server, work, write=True)
    done = log.verify()
    assert done.returncode == 1 and done.stdout.startswith("BROKEN after "), done.stdout
    assert "Traceback" not in done.stderr


async def test_the_first_broken_row_is_named(log: _Log) -> None:
    rows = await in_unit(log.server, _sealed_rows)

    def work(_unit: Unit) -> None:
        _write(rows[20].id, action="test.other")
        _write(rows[30].id, action="test.other")

    await in_unit(log.server, work, write=True)
    done = log.verify()
    told = f"BROKEN after 20 events: row 21 ({rows[20].id}) was changed or moved (0 unsealed)\n"
    assert (done.returncode, done.stdout) == (1, told)


async def test_a_database_that_is_not_ready_is_no_broken_log(
    empty_database_url: str, tmp_path: Path
) -> None:
    done = _Log(empty_database_url, tmp_path, None).verify()  # type: ignore[arg-type]
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr


@pytest.mark.timeout(1800)
async def test_no_tampering_goes_unnoticed(log: _Log) -> None:
    missed = []
    names = list(TAMPERS)
    for number in range(ROUNDS):
        name = names[number % len(names)]
        rounds = random.Random(number)

        def work(unit: Unit, name: str = name, rounds: random.Random = rounds) -> None:
            TAMPERS[name](_sealed_rows(unit), rounds)
            raise _Found(verify_chain(unit))

        with pytest.raises(_Found) as raised:
            await in_unit(log.server, work, write=True)
        if not raised.value.report.problem:
            missed.append((number, name))
    assert missed == []
    assert (await in_unit(log.server, verify_chain)).problem == ""


class _Found(Exception):
    """Carries the report out of a unit that is rolled back."""

    def __init__(self, report: ChainReport) -> None:
        self.report = report


async def test_verifying_beside_a_sealer_is_no_false_alarm(server: Greenroom) -> None:
    import asyncio

    database = server.running.parts.database

    async def write() -> None:
        for _ in range(15):
            await database.run(_fill, write=True)
            await database.run(seal, write=True)

    writing = asyncio.create_task(write())
    while not writing.done():
        report = await database.run(verify_chain, write=False, serializable=True)
        assert report.problem == ""
    await writing


async def test_a_break_is_logged_by_the_daily_job(
    log: _Log, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = log.server.running.parts.jobs
    assert jobs.schedules[JOB] == "13 4 * * *"

    class _Run:
        def run(self, work: Callable[[Unit], Any], **options: bool) -> Any:
            return log.server.running.parts.database.run_here(work, **options)

    import asyncio

    caplog.set_level("INFO")
    await asyncio.to_thread(jobs.kinds[JOB].function, _Run())  # type: ignore[arg-type]
    assert [record.levelname for record in caplog.records if "audit" in record.message] == ["INFO"]
    await in_unit(log.server, lambda unit: _edit(_sealed_rows(unit), random.Random(1)), write=True)
    await asyncio.to_thread(jobs.kinds[JOB].function, _Run())  # type: ignore[arg-type]
    (told,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "tampered" in told.message
