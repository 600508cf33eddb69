"""Units of work on both databases: what commits, what does not, and what follows a commit."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
import pytest

from server.core.caller import CallContext, Caller
from server.core.clock import ManualClock
from server.core.db import Database, RowGone, database, locked, sql
from server.core.errors import DeadlineExceeded, FailedPrecondition, Refused, Unavailable
from server.core.unit import Unit
from tests.unit.core.things import Account, Thing, opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC))


@pytest.fixture
def db(database_url: str, clock: ManualClock) -> Iterator[Database]:
    with opened(database_url, clock=clock) as database:
        yield database


def count(_unit: Unit) -> int:
    return Thing.select().count()


async def test_a_unit_commits_what_it_wrote_and_returns_what_the_work_returns(db: Database) -> None:
    made = await db.run(lambda unit: Thing.create(name="a").id, write=True)
    assert await db.run(lambda unit: Thing.get_by_id(made).name, write=False) == "a"


async def test_values_come_back_as_they_went_in(db: Database, clock: ManualClock) -> None:
    seen = datetime(1969, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)
    details = {"b": [1, 2.5, None], "a": "ä"}

    def work(_unit: Unit) -> str:
        return Thing.create(name="ä\u2028", seen_time=seen, details=details, content=b"\0\xff").id

    row = await db.run(lambda unit: Thing.get_by_id(work(unit)), write=True)
    assert (row.name, row.seen_time, row.details) == ("ä\u2028", seen, details)
    assert row.content == b"\0\xff"
    assert row.create_time == row.update_time == clock.now()
    stored = await db.run(lambda unit: sql("SELECT seen_time FROM things").fetchone(), write=False)
    assert stored[0] == -876544


async def test_saving_writes_what_was_assigned_and_moves_the_update_time(
    db: Database, clock: ManualClock
) -> None:
    thing = await db.run(lambda unit: Thing.create(name="a", rank=1), write=True)
    made = clock.now()
    clock.advance(5)

    def rename(unit: Unit) -> None:
        Thing.update(rank=7).execute()
        thing.name = "b"
        thing.save()

    await db.run(rename, write=True)
    row = await db.run(lambda unit: Thing.get_by_id(thing.id), write=False)
    assert (row.name, row.rank) == ("b", 7)
    assert (row.create_time, row.update_time) == (made, made + timedelta(seconds=5))


async def test_a_row_by_its_id_is_what_peewee_would_read(db: Database) -> None:
    def work(_unit: Unit) -> None:
        made = Thing.create(name="a", details=[1], content=b"x", seen_time=_unit.now)
        fast, slow = Thing.get_by_id(made.id), Thing.select().where(Thing.id == made.id).get()
        assert fast == slow
        assert fast.__data__ == slow.__data__
        assert not fast.is_dirty()
        with pytest.raises(Thing.DoesNotExist):
            Thing.get_by_id("none")

    await db.run(work, write=True)


async def test_saving_a_row_that_is_not_there_is_an_error(db: Database) -> None:
    with pytest.raises(RowGone):
        await db.run(lambda unit: Thing(name="never inserted").save(), write=True)


async def test_an_exception_undoes_the_unit_and_publishes_nothing(db: Database) -> None:
    heard: list[object] = []
    db.publisher = heard.append

    def work(unit: Unit) -> None:
        Thing.create(name="a")
        unit.emit("made")
        unit.after_commit(lambda: heard.append("after"))
        raise FailedPrecondition()

    with pytest.raises(FailedPrecondition):
        await db.run(work, write=True)
    assert await db.run(count, write=False) == 0
    assert heard == []


async def test_events_and_callbacks_follow_the_commit_in_order(db: Database) -> None:
    heard: list[Any] = []

    def publish(events: list[object]) -> None:
        # Another unit in the same thread sees the rows: they are committed.
        heard.append((list(events), db.run_here(count, write=False)))

    db.publisher = publish

    def work(unit: Unit) -> str:
        Thing.create(name="a")
        unit.after_commit(lambda: heard.append("first"))
        unit.after_commit(lambda: heard.append("second"))
        unit.emit(1)
        unit.emit(2)
        assert heard == []
        return "done"

    assert await db.run(work, write=True) == "done"
    assert heard == [([1, 2], 1), "first", "second"]


async def test_what_fails_after_the_commit_is_logged_and_changes_nothing(
    db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def publish(_events: list[object]) -> None:
        raise RuntimeError("no ears")

    def fail() -> None:
        raise RuntimeError("no hands")

    db.publisher = publish

    def work(unit: Unit) -> None:
        Thing.create(name="a")
        unit.emit(1)
        unit.after_commit(fail)
        unit.after_commit(lambda: heard.append("reached"))

    await db.run(work, write=True)
    assert heard == ["reached"]
    assert "no ears" in caplog.text
    assert "no hands" in caplog.text


async def test_a_refusal_that_is_returned_commits(db: Database) -> None:
    def work(_unit: Unit) -> Refused:
        Thing.create(name="trace")
        return Refused(FailedPrecondition())

    assert isinstance(await db.run(work, write=True), Refused)
    assert await db.run(count, write=False) == 1


async def test_a_unit_knows_its_call_and_one_instant(db: Database, clock: ManualClock) -> None:
    context = CallContext(Caller("user", "u1"), "r1", "10.0.0.1", "agent")

    def work(unit: Unit) -> tuple[object, ...]:
        clock.advance(1)
        return unit.caller.user_id, unit.request_id, unit.address, unit.user_agent, unit.now

    before = clock.now()
    assert await db.run(work, write=False, context=context) == (
        "u1", "r1", "10.0.0.1", "agent", before,
    )  # fmt: skip


async def test_jobs_and_audit_rows_go_through_their_sinks(db: Database) -> None:
    calls: list[Any] = []
    db.job_sink = lambda unit, job, arguments, **more: calls.append((job, arguments, more))
    db.audit_sink = lambda unit, action, **more: calls.append((action, more))

    def work(unit: Unit) -> bool:
        unit.enqueue("mail.send", {"to": "a"}, key="k")
        unit.audit("log_in", resource="users/1", reason="test")
        return unit.audited

    assert await db.run(work, write=True)
    said = {"resource": "users/1", "result": "OK", "actor_id": None, "metadata": {"reason": "test"}}
    assert calls == [
        ("mail.send", {"to": "a"}, {"run_at": None, "key": "k"}),
        ("log_in", said),
    ]


async def test_a_savepoint_fails_alone(db: Database) -> None:
    def work(unit: Unit) -> None:
        Account.create(name="a")
        with pytest.raises(peewee.IntegrityError), unit.savepoint():
            Account.create(name="b")
            Account.create(name="a")
        Account.create(name="c")

    await db.run(work, write=True)
    names = await db.run(
        lambda unit: [row.name for row in Account.select().order_by(Account.name)], write=False
    )
    assert names == ["a", "c"]


async def test_an_error_caught_without_a_savepoint_never_commits_by_half(db: Database) -> None:
    def work(unit: Unit) -> None:
        Account.create(name="a")
        with pytest.raises(peewee.IntegrityError):
            Account.create(name="a")

    if db.kind == "postgresql":
        with pytest.raises(RuntimeError, match="savepoint"):
            await db.run(work, write=True)
        assert await db.run(lambda unit: Account.select().count(), write=False) == 0
    else:
        await db.run(work, write=True)
        assert await db.run(lambda unit: Account.select().count(), write=False) == 1


async def test_a_first_statement_that_fails_does_not_lose_the_transaction(db: Database) -> None:
    def work(_unit: Unit) -> None:
        with pytest.raises(peewee.PeeweeException):
            sql("SELECT ?", object())
        with pytest.raises(peewee.PeeweeException):
            sql("SELEC")
        Account.create(name="a")
        raise FailedPrecondition()

    with pytest.raises(FailedPrecondition):
        await db.run(work, write=True)
    assert await db.run(lambda unit: Account.select().count(), write=False) == 0


async def test_integrity_errors_reach_the_caller_as_they_are(db: Database) -> None:
    await db.run(lambda unit: Account.create(name="a"), write=True)
    with pytest.raises(peewee.IntegrityError):
        await db.run(lambda unit: Account.create(name="a"), write=True)


async def test_a_unit_for_reading_does_not_write_or_lock(db: Database) -> None:
    for work in (
        lambda unit: Thing.create(name="a"),
        lambda unit: Thing.delete().execute(),
        lambda unit: unit.savepoint().__enter__(),
        lambda unit: sql("DROP TABLE things"),
    ):
        with pytest.raises(RuntimeError, match="does not write"):
            await db.run(work, write=False)
    if db.kind == "postgresql":
        with pytest.raises(RuntimeError, match="does not write"):
            await db.run(lambda unit: list(locked(Thing.select())), write=False)
    await db.run(lambda unit: list(locked(Thing.select())), write=True)


async def test_peewee_is_refused_outside_a_unit_and_on_the_loop(db: Database) -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        Thing.select().count()
    with pytest.raises(RuntimeError, match="block the event loop"):
        db.run_here(count, write=False)
    with pytest.raises(RuntimeError, match="outside a unit"):
        await asyncio.to_thread(lambda: Thing.select().count())
    with pytest.raises(RuntimeError, match="do not nest"):
        await db.run(lambda unit: db.run_here(count, write=False), write=False)
    assert await db.run(count, write=False) == 0


async def test_past_the_deadline_nothing_is_committed(db: Database) -> None:
    deadline = time.monotonic() + 0.05

    def work(_unit: Unit) -> None:
        Thing.create(name="late")
        while time.monotonic() < deadline:
            threading.Event().wait(0.01)

    with pytest.raises(DeadlineExceeded):
        await db.run(work, write=True, deadline=deadline)
    with pytest.raises(DeadlineExceeded):
        await db.run(count, write=False, deadline=deadline)
    assert await db.run(count, write=False) == 0


async def test_work_may_raise_anything(db: Database) -> None:
    def stop(_unit: Unit) -> None:
        raise StopIteration

    def leave(_unit: Unit) -> None:
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="StopIteration"):
        await db.run(stop, write=False)
    with pytest.raises(SystemExit):
        await asyncio.to_thread(db.run_here, leave, write=False)
    assert await db.run(count, write=False) == 0


async def test_a_dedicated_connection_is_its_own(db: Database) -> None:
    def use() -> int:
        with db.dedicated() as connection, db.writer_lock:
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE" if db.kind == "sqlite" else "BEGIN")
            cursor.execute("INSERT INTO accounts (name, balance) VALUES ('x', 1)")
            cursor.execute("COMMIT")
            return 1

    await asyncio.to_thread(use)
    assert await db.run(lambda unit: Account.select().count(), write=False) == 1


def test_after_closing_calls_are_refused_and_the_next_database_serves(
    database_url: str,
) -> None:
    with opened(database_url) as first:
        with pytest.raises(RuntimeError, match="close it first"), opened(database_url):
            pass
        asyncio.run(first.run(lambda unit: Thing.create(name="a"), write=True))
    assert database.obj is None
    with pytest.raises(Unavailable):
        asyncio.run(first.run(count, write=False))
    with opened(database_url) as second:
        # One loop after another, on the same threads.
        assert [asyncio.run(second.run(count, write=False)) for _ in range(3)] == [0, 0, 0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("database")]
