"""The threads and their connections: bounded waits, cancelled callers, lost races, lost connections."""

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg2
import pytest

from server.core.clock import SystemClock
from server.core.config import load_settings
from server.core.db import Database, PoolBusy, locked, sql
from server.core.errors import Aborted, DeadlineExceeded, Unavailable
from server.core.unit import Unit
from tests.support.databases import drop_database, fresh_database, require
from tests.unit.core.things import Account, Thing, opened


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with opened(database_url, DATABASE_POOL_SIZE="3", DATABASE_WAIT_SECONDS="0.2") as database:
        yield database


@pytest.fixture
def patient(database_url: str) -> Iterator[Database]:
    with opened(database_url, DATABASE_POOL_SIZE="4", DATABASE_WAIT_SECONDS="30") as database:
        yield database


@pytest.fixture
def postgresql() -> Iterator[Database]:
    require("postgresql")
    url = fresh_database("postgresql")
    with opened(url, DATABASE_POOL_SIZE="4", DATABASE_WAIT_SECONDS="5") as database:
        yield database
    drop_database(url)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


class Blocker:
    """Work that occupies threads until it is let go."""

    def __init__(self) -> None:
        self.running = 0
        self.release = threading.Event()

    def __call__(self, _unit: Unit) -> None:
        self.running += 1
        assert self.release.wait(10)


async def test_threads_are_started_when_they_are_needed(patient: Database) -> None:
    await patient.run(lambda _unit: None, write=False)
    assert len(patient._readers._threads) == 1
    blocker = Blocker()
    busy = [asyncio.ensure_future(patient.run(blocker, write=False)) for _ in range(2)]
    await until(lambda: blocker.running == 2)
    blocker.release.set()
    await asyncio.gather(*busy)
    # One more where the first had not yet said that it was free.
    assert len(patient._readers._threads) in (2, 3)


async def test_a_caller_waits_a_bounded_time_for_a_thread(db: Database) -> None:
    blocker = Blocker()
    threads = 2 if db.kind == "sqlite" else 3
    busy = [asyncio.ensure_future(db.run(blocker, write=False)) for _ in range(threads)]
    await until(lambda: blocker.running == threads)
    start = time.monotonic()
    with pytest.raises(PoolBusy):
        await db.run(lambda unit: None, write=False)
    assert 0.15 < time.monotonic() - start < 1.0
    with pytest.raises(DeadlineExceeded):
        await db.run(lambda unit: None, write=False, deadline=time.monotonic() + 0.02)
    waiting = asyncio.ensure_future(db.run(lambda unit: 7, write=False))
    await asyncio.sleep(0)
    blocker.release.set()
    assert await waiting == 7
    await asyncio.gather(*busy)
    await until(lambda: db.in_flight == 0)


async def test_what_was_given_up_or_cancelled_while_waiting_never_runs(db: Database) -> None:
    blocker, ran = Blocker(), list[int]()
    busy = [asyncio.ensure_future(db.run(blocker, write=False)) for _ in range(3)]
    await until(lambda: blocker.running >= 2)
    late = [
        asyncio.ensure_future(db.run(lambda unit: ran.append(1), write=False)) for _ in range(4)
    ]
    await asyncio.sleep(0)
    late[0].cancel()
    for task in late:
        with pytest.raises((PoolBusy, asyncio.CancelledError)):
            await task
    blocker.release.set()
    with suppress(PoolBusy):
        await asyncio.gather(*busy)
    await until(lambda: db.in_flight == 0)
    assert ran == []


async def test_a_cancelled_caller_gives_its_thread_back_when_the_unit_ends(db: Database) -> None:
    for _ in range(6):
        blocker = Blocker()
        task = asyncio.ensure_future(db.run(blocker, write=True))
        await until(lambda blocker=blocker: blocker.running == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert db.in_flight == 1
        blocker.release.set()
        await until(lambda: db.in_flight == 0)
    assert await db.run(lambda unit: 1, write=True) == 1


async def test_many_calls_with_cancels_leak_nothing(patient: Database) -> None:
    picks = random.Random(7)

    def write(index: int) -> Callable[[Unit], None]:
        return lambda unit: Account.insert(name=str(index)).execute() and None

    async def call(index: int) -> None:
        writes = index % 3 == 0
        work = write(index) if writes else lambda unit: Account.select().count() and None
        task = asyncio.ensure_future(patient.run(work, write=writes))
        if picks.random() < 0.2:
            await asyncio.sleep(picks.random() * 0.003)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    for start in range(0, 1000, 100):
        await asyncio.gather(*(call(start + offset) for offset in range(100)))
    await until(lambda: patient.in_flight == 0)
    # Four threads, and the one that made the tables.
    assert len(patient._engine._opened) <= 5


async def test_readers_are_served_while_writers_queue(db: Database) -> None:
    if db.kind != "sqlite":
        pytest.skip(reason="PostgreSQL has writers side by side")
    blocker = Blocker()
    writers = [asyncio.ensure_future(db.run(blocker, write=True)) for _ in range(5)]
    await until(lambda: blocker.running == 1)
    for _ in range(5):
        assert await db.run(lambda unit: Thing.select().count(), write=False) == 0
    blocker.release.set()
    await asyncio.gather(*writers)


async def test_a_connection_lost_while_idle_is_replaced_unseen(postgresql: Database) -> None:
    await asyncio.gather(
        *(postgresql.run(lambda unit: sql("SELECT pg_sleep(0.05)"), write=True) for _ in range(4))
    )
    _end_all_sessions(postgresql)
    for index in range(8):
        await postgresql.run(lambda unit, index=index: Account.create(name=str(index)), write=True)
    _end_all_sessions(postgresql)
    assert await postgresql.run(lambda unit: Account.select().count(), write=False) == 8
    assert postgresql.retries >= 1


async def test_a_connection_that_keeps_breaking_is_unavailable(postgresql: Database) -> None:
    def work(_unit: Unit) -> None:
        Account.create(name="lost")
        _end_all_sessions(postgresql)
        Account.create(name="never")

    with pytest.raises(Unavailable):
        await postgresql.run(work, write=True)
    assert await postgresql.run(lambda unit: Account.select().count(), write=False) == 0


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    settings = load_settings({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    db = Database.open(settings, SystemClock())
    try:
        with pytest.raises(Unavailable):
            await db.run(lambda unit: sql("SELECT 1"), write=False)
    finally:
        db.close()


async def test_lost_races_are_run_again_until_they_win(postgresql: Database) -> None:
    def make(_unit: Unit) -> None:
        Account.insert_many([{"name": "a", "balance": 0}, {"name": "b", "balance": 0}]).execute()

    await postgresql.run(make, write=True)
    lost = 0

    def move(_unit: Unit) -> None:
        rows = {row.name: row for row in Account.select()}
        Account.update(balance=rows["a"].balance + 1).where(Account.name == "a").execute()
        Account.update(balance=rows["b"].balance - 1).where(Account.name == "b").execute()

    async def mover() -> int:
        nonlocal lost
        done = 0
        for _ in range(10):
            try:
                await postgresql.run(move, write=True, serializable=True)
                done += 1
            except Aborted:
                lost += 1
        return done

    moved = sum(await asyncio.gather(*(mover() for _ in range(4))))
    final = await postgresql.run(
        lambda unit: {row.name: row.balance for row in Account.select()}, write=False
    )
    assert final == {"a": moved, "b": -moved}
    assert moved + lost == 40
    assert postgresql.retries > 0


async def test_a_deadlock_is_resolved(postgresql: Database) -> None:
    def make(_unit: Unit) -> None:
        Account.insert_many([{"name": "a"}, {"name": "b"}]).execute()

    await postgresql.run(make, write=True)
    barrier = threading.Barrier(2)

    def cross(first: str, second: str) -> Callable[[Unit], None]:
        def work(_unit: Unit) -> None:
            for name in (first, second):
                row = locked(Account.select().where(Account.name == name)).get()
                row.balance += 1
                row.save()
                with suppress(threading.BrokenBarrierError):
                    barrier.wait(0.3)

        return work

    await asyncio.gather(
        postgresql.run(cross("a", "b"), write=True), postgresql.run(cross("b", "a"), write=True)
    )
    balances = await postgresql.run(
        lambda unit: [row.balance for row in Account.select()], write=False
    )
    assert balances == [2, 2]


async def test_a_read_can_have_one_snapshot(postgresql: Database) -> None:
    def look(_unit: Unit) -> tuple[int, int]:
        before = Account.select().count()
        other = psycopg2.connect(postgresql._engine.database)
        with other, other.cursor() as cursor:
            cursor.execute("INSERT INTO accounts (name, balance) VALUES ('x', 0)")
        other.close()
        return before, Account.select().count()

    assert await postgresql.run(look, write=False, serializable=True) == (0, 0)
    await postgresql.run(lambda unit: Account.delete().execute(), write=True)
    assert await postgresql.run(look, write=False) == (0, 1)


async def test_a_statement_that_takes_too_long_is_ended() -> None:
    require("postgresql")
    url = fresh_database("postgresql")
    settings = load_settings({"DATABASE_URL": url, "DATABASE_STATEMENT_SECONDS": "0.1"})
    db = Database.open(settings, SystemClock())
    try:
        with pytest.raises(DeadlineExceeded):
            await db.run(lambda unit: sql("SELECT pg_sleep(5)"), write=True)
    finally:
        db.close()
        drop_database(url)


async def test_another_process_that_holds_sqlite_is_a_conflict(db: Database) -> None:
    if db.kind != "sqlite":
        pytest.skip(reason="only SQLite has one writer")
    # Every new connection is told to wait a moment only, so that the test does not wait 5 s.
    db._engine.init(db._engine.database, pragmas=[*db._engine._pragmas, ("busy_timeout", 50)])
    other = sqlite3.connect(db._engine.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Aborted):
            await db.run(lambda unit: Thing.create(name="a"), write=True)
    finally:
        other.execute("ROLLBACK")
        other.close()
    await db.run(lambda unit: Thing.create(name="a"), write=True)


async def test_a_unit_that_writes_has_the_database_from_its_first_statement(db: Database) -> None:
    """Else its first write would fail at once when another process has written since it read."""
    if db.kind != "sqlite":
        pytest.skip(reason="only SQLite has one writer")

    def work(_unit: Unit) -> None:
        assert Thing.select().count() == 0
        other = sqlite3.connect(db._engine.database, isolation_level=None, timeout=0)
        try:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        finally:
            other.close()
        Thing.create(name="a")

    await db.run(work, write=True)


async def test_every_connection_to_sqlite_is_set_to_be_safe(db: Database) -> None:
    if db.kind != "sqlite":
        pytest.skip(reason="SQLite's own settings")
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}

    def look(_unit: Unit) -> dict[str, object]:
        return {name: sql(f"PRAGMA {name}").fetchone()[0] for name in expected}

    assert await db.run(look, write=False) == expected
    assert await db.run(look, write=True) == expected

    def dedicated() -> dict[str, object]:
        with db.dedicated() as connection:
            return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in expected}

    assert await asyncio.to_thread(dedicated) == expected


def _end_all_sessions(db: Database) -> None:
    connection = psycopg2.connect(db._engine.database)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connection.close()
