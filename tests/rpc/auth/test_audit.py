"""The audit log: a row with each effect, and a chain that shows every change."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from greenroom.auth.v1 import auth_service_pb2 as pb
from server.auth.audit import ChainReport, seal, verify_chain
from server.auth.models import AuditChain, AuditEvent, User
from server.core.errors import NotFound
from server.core.unit import Unit
from tests.rpc.auth.scenes import audit_rows, in_unit, module_of
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of

Tamper = Callable[[list[AuditEvent], random.Random], None]


async def _verified(server: Greenroom) -> ChainReport:
    return await in_unit(server, verify_chain)


async def _busy(server: Greenroom) -> Person:
    """Some traffic, all of it sealed."""
    for _ in range(3):
        ada = await server.person("Ada")
        await failure_of(server.log_in(ada.email, "wrong"))
        await server.auth.LogOut(pb.LogOutRequest(), metadata=ada.metadata)
    await module_of(server).sealer.seal_all()
    return ada


async def test_a_row_tells_who_did_what_from_where(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await server.auth.LogOut(pb.LogOutRequest(), metadata=ada.metadata)

    def last(_unit: Unit) -> AuditEvent:
        return AuditEvent.select().order_by(AuditEvent.id.desc()).get()

    row = await in_unit(server, last)
    assert (row.actor_kind, row.actor_id, row.session_id) == ("user", ada.id, ada.session_id)
    assert (row.action, row.result) == ("session.log_out", "OK")
    assert row.resource == f"sessions/{ada.session_id}" and row.ip == "127.0.0.1"
    assert row.method == "greenroom.auth.v1.AuthService.LogOut" and row.request_id
    assert row.create_time == server.clock.now()


async def test_rows_are_sealed_in_order_and_the_chain_holds(server: Greenroom) -> None:
    await _busy(server)
    report = await _verified(server)
    assert report == ChainReport(sealed=15, unsealed=0)
    await failure_of(server.log_in("nobody@example.com"))
    assert (await _verified(server)).unsealed in (0, 1)
    await module_of(server).sealer.seal_all()
    assert await _verified(server) == ChainReport(sealed=16, unsealed=0)


async def test_a_unit_that_fails_leaves_no_row(server: Greenroom) -> None:
    def fail(unit: Unit) -> None:
        unit.audit("test.fail")
        raise NotFound

    with pytest.raises(NotFound):
        await in_unit(server, fail, write=True)
    assert await audit_rows(server) == []


def _edit(rows: list[AuditEvent], rounds: random.Random) -> None:
    row = rounds.choice(rows)
    field = rounds.choice(
        ["action", "result", "resource", "ip", "user_agent", "method", "metadata", "request_id"]
    )
    text = getattr(row, field)
    AuditEvent.update({field: text + " " if text else "x"}).where(AuditEvent.id == row.id).execute()


def _redate(rows: list[AuditEvent], rounds: random.Random) -> None:
    row = rounds.choice(rows)
    moved = row.create_time.replace(microsecond=(row.create_time.microsecond + 1) % 1_000_000)
    AuditEvent.update(create_time=moved).where(AuditEvent.id == row.id).execute()


def _disown(rows: list[AuditEvent], rounds: random.Random) -> None:
    row = rounds.choice(rows)
    AuditEvent.update(actor_id="" if row.actor_id is None else None).where(
        AuditEvent.id == row.id
    ).execute()


def _delete(rows: list[AuditEvent], rounds: random.Random) -> None:
    AuditEvent.delete().where(AuditEvent.id == rounds.choice(rows).id).execute()


def _cut_the_end(rows: list[AuditEvent], rounds: random.Random) -> None:
    doomed = [row.id for row in rows[-rounds.randint(1, 4) :]]
    AuditEvent.delete().where(AuditEvent.id.in_(doomed)).execute()


def _swap(rows: list[AuditEvent], rounds: random.Random) -> None:
    one, other = rounds.sample(rows, 2)
    links = [(row.seq, row.prev_hash, row.hash) for row in (other, one)]
    blank = {"seq": None, "prev_hash": None, "hash": None}
    for row in (one, other):
        AuditEvent.update(blank).where(AuditEvent.id == row.id).execute()
    for row, (seq, prev_hash, hashed) in zip((one, other), links, strict=True):
        AuditEvent.update(seq=seq, prev_hash=prev_hash, hash=hashed).where(
            AuditEvent.id == row.id
        ).execute()


def _unseal(rows: list[AuditEvent], rounds: random.Random) -> None:
    AuditEvent.update(seq=None, prev_hash=None, hash=None).where(
        AuditEvent.id == rounds.choice(rows).id
    ).execute()


def _move_the_head(_rows: list[AuditEvent], _rounds: random.Random) -> None:
    AuditChain.update(seq=AuditChain.seq - 1).execute()


class _RolledBack(Exception):
    pass


@pytest.mark.parametrize(
    "tamper",
    [_edit, _redate, _disown, _delete, _cut_the_end, _swap, _unseal, _move_the_head],
)
async def test_no_change_of_a_sealed_row_goes_unnoticed(server: Greenroom, tamper: Tamper) -> None:
    await _busy(server)
    rounds = random.Random(11)
    found: list[ChainReport] = []

    def work(unit: Unit) -> None:
        rows = list(AuditEvent.select().where(AuditEvent.seq > 0).order_by(AuditEvent.seq))
        tamper(rows, rounds)
        found.append(verify_chain(unit))
        raise _RolledBack

    for _ in range(25):
        with pytest.raises(_RolledBack):
            await in_unit(server, work, write=True)
    assert len(found) == 25 and all(report.problem for report in found)
    assert (await _verified(server)).problem == ""


async def test_several_sealers_make_one_chain(server: Greenroom) -> None:
    def fill(unit: Unit) -> None:
        for number in range(400):
            unit.audit("test.fill", number=number)

    await in_unit(server, fill, write=True)
    database = server.running.parts.database
    await asyncio.gather(*(database.run(seal, write=True) for _ in range(6)))
    assert await _verified(server) == ChainReport(sealed=400, unsealed=0)


async def test_a_sealer_waits_for_another_one(server: Greenroom, database_kind: str) -> None:
    """The slower one knows a row that the other cannot see yet."""
    if database_kind == "sqlite":
        pytest.skip(reason="SQLite has one writer at a time")
    database = server.running.parts.database
    sealed, go_on = threading.Event(), threading.Event()

    def slow(unit: Unit) -> None:
        unit.audit("test.late")
        seal(unit)
        sealed.set()
        go_on.wait(10)

    def waiting(_unit: Unit) -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        count: int = AuditEvent._meta.database.execute_sql(query).fetchone()[0]
        return count

    await database.run(lambda unit: unit.audit("test.early"), write=True)
    slower = asyncio.create_task(database.run(slow, write=True))
    await asyncio.to_thread(sealed.wait, 10)
    faster = asyncio.create_task(database.run(seal, write=True))
    end = time.monotonic() + 5
    while not await in_unit(server, waiting):
        assert time.monotonic() < end
    go_on.set()
    await asyncio.gather(slower, faster)
    assert await _verified(server) == ChainReport(sealed=2, unsealed=0)


async def test_no_secret_is_audited(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve()
    ada = await server.person("Ada")
    tokens = ada.tokens.tokens
    await failure_of(server.log_in(ada.email, "a wrong password"))

    def everything(_unit: Unit) -> str:
        return repr(list(AuditEvent.select().dicts()))

    text = await in_unit(server, everything)
    for secret in (
        "correct horse",
        "a wrong password",
        tokens.access_token,
        tokens.refresh_token,
        "grv_",
    ):
        assert secret not in text
    assert await in_unit(server, lambda _unit: User.select().count()) == 1
