"""The lane: groups, order, failures that stay with whom they belong to."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg2
import pytest

from server.chat.errors import ChannelNotFound, LaneFull, LaneStopped
from server.chat.lane import Lane
from server.chat.sending import Outcome, SendCommand, Sent
from server.core.errors import Aborted, GreenroomError, Unavailable
from server.core.writer_lock import NoLock, PoolBusy


class Connection:
    """As much of a DB-API connection as the lane touches."""

    def __init__(self) -> None:
        self.closed = False
        self.executed: list[str] = []

    def cursor(self) -> "Connection":
        return self

    def execute(self, sql: str) -> None:
        self.executed.append(sql)


class Store:
    """Stands for the database; ``fail`` decides which groups it refuses."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.stored: list[str] = []
        self.connections: list[Connection] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail: Callable[[list[str], Connection], Exception | None] = lambda *_: None
        self.reachable = True

    @contextmanager
    def dedicated(self) -> Iterator[Connection]:
        if not self.reachable:
            raise psycopg2.OperationalError("refused")
        connection = Connection()
        self.connections.append(connection)
        try:
            yield connection
        finally:
            connection.closed = True

    def write(self, connection: Any, commands: Sequence[SendCommand]) -> list[Outcome]:
        texts = [command.text for command in commands]
        self.groups.append(texts)
        self.gate.wait(5)
        error = self.fail(texts, connection)
        if error is not None:
            raise error
        outcomes: list[Outcome] = []
        for text in texts:
            if text == "foreign":
                outcomes.append(ChannelNotFound())
                continue
            known = text in self.stored
            if not known:
                self.stored.append(text)
            seq = self.stored.index(text) + 1
            outcomes.append(Sent("c", 1, seq, "s", text.encode(), fresh=not known))
        return outcomes


def command(text: object) -> SendCommand:
    return SendCommand("c", "s", str(text), str(text))


@asynccontextmanager
async def lane_on(store: Store, **limits: int) -> AsyncIterator[tuple[Lane, list[Sent]]]:
    delivered: list[Sent] = []
    lane = Lane(
        dedicated=store.dedicated,
        writer_lock=NoLock(),
        write=store.write,
        deliver=delivered.extend,
        **limits,
    )
    lane.start()
    try:
        yield lane, delivered
    finally:
        store.gate.set()
        await lane.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_gathers_during_a_write_is_the_next_group() -> None:
    store = Store()
    store.gate.clear()
    async with lane_on(store, batch_limit=4) as (lane, delivered):
        futures = [lane.send(command(0))]
        await until(lambda: store.groups)
        futures += [lane.send(command(number)) for number in range(1, 7)]
        store.gate.set()
        sent = await asyncio.gather(*futures)
    assert store.groups == [["0"], ["1", "2", "3", "4"], ["5", "6"]]
    assert [one.seq for one in sent] == [1, 2, 3, 4, 5, 6, 7]
    assert [one.encoded for one in delivered] == [one.encoded for one in sent]


async def test_a_refusal_is_its_senders_alone() -> None:
    store = Store()
    async with lane_on(store) as (lane, _):
        good, bad = lane.send(command("good")), lane.send(command("foreign"))
        assert (await good).seq == 1
        with pytest.raises(ChannelNotFound):
            await bad


async def test_a_command_that_breaks_the_group_fails_alone() -> None:
    store = Store()
    store.fail = lambda texts, _: sqlite3.IntegrityError("bad") if "bad" in texts else None
    store.gate.clear()
    async with lane_on(store) as (lane, _):
        first = lane.send(command("first"))
        await until(lambda: store.groups)
        futures = [lane.send(command(text)) for text in ("a", "bad", "b")]
        store.gate.set()
        results = await asyncio.gather(first, *futures, return_exceptions=True)
    assert isinstance(results[2], sqlite3.IntegrityError)
    assert [one.encoded for one in results if isinstance(one, Sent)] == [b"first", b"a", b"b"]
    assert "ROLLBACK" in store.connections[0].executed
    assert store.groups[1:] == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]


async def test_a_lost_connection_is_replaced_and_what_it_stored_is_delivered() -> None:
    store = Store()

    def lose_once(texts: list[str], connection: Connection) -> Exception | None:
        if len(store.connections) == 1:
            store.stored.extend(texts)  # The commit came through, its answer did not.
            connection.closed = True
            return psycopg2.OperationalError("server closed the connection")
        return None

    store.fail = lose_once
    async with lane_on(store) as (lane, delivered):
        sent = await lane.send(command("x"))
    assert sent.seq == 1
    assert store.stored == ["x"]
    assert [one.seq for one in delivered] == [1]
    assert len(store.connections) == 2


async def test_a_database_that_is_away_is_unavailable_until_it_is_back() -> None:
    store = Store()
    store.reachable = False
    async with lane_on(store) as (lane, _):
        with pytest.raises(Unavailable):
            await lane.send(command("x"))
        store.reachable = True
        assert (await lane.send(command("x"))).seq == 1


async def test_a_lost_race_is_run_again_as_a_group() -> None:
    store = Store()
    lost: list[int] = []

    def lose(texts: list[str], _: Connection) -> Exception | None:
        lost.append(len(texts))
        return sqlite_busy() if len(lost) < 3 else None

    class Deadlock(psycopg2.OperationalError):
        pgcode = "40P01"

    def sqlite_busy() -> Exception:
        return Deadlock("deadlock detected")

    store.fail = lose
    async with lane_on(store) as (lane, _):
        assert (await lane.send(command("x"))).seq == 1
    assert len(lost) == 3


async def test_a_race_that_is_lost_for_ever_is_aborted() -> None:
    class Deadlock(psycopg2.OperationalError):
        pgcode = "40P01"

    store = Store()
    store.fail = lambda *_: Deadlock("deadlock detected")
    async with lane_on(store) as (lane, _):
        with pytest.raises(Aborted):
            await lane.send(command("x"))


async def test_a_writer_lock_that_is_not_to_be_had_fails_the_group_at_once() -> None:
    class Taken:
        def __enter__(self) -> None:
            raise PoolBusy

        def __exit__(self, *_: object) -> None:
            return None

    store = Store()
    lane = Lane(
        dedicated=store.dedicated,
        writer_lock=Taken(),  # type: ignore[arg-type]
        write=store.write,
        deliver=lambda _: None,
    )
    lane.start()
    with pytest.raises(PoolBusy):
        await lane.send(command("x"))
    await lane.stop()
    assert store.groups == []


async def test_over_its_bound_the_queue_refuses_at_once() -> None:
    store = Store()
    store.gate.clear()
    async with lane_on(store, queue_limit=3) as (lane, _):
        futures = [lane.send(command("first"))]
        await until(lambda: store.groups)
        futures += [lane.send(command(number)) for number in range(3)]
        with pytest.raises(LaneFull) as caught:
            lane.send(command("too many"))
        assert caught.value.retry_after
        store.gate.set()
        assert len(await asyncio.gather(*futures)) == 4


async def test_a_send_that_was_taken_back_is_not_written() -> None:
    store = Store()
    store.gate.clear()
    async with lane_on(store) as (lane, _):
        first = lane.send(command("first"))
        await until(lambda: store.groups)
        taken_back, last = lane.send(command("no")), lane.send(command("last"))
        taken_back.cancel()
        store.gate.set()
        await asyncio.gather(first, last)
    assert store.stored == ["first", "last"]


async def test_stopping_writes_what_waits_and_takes_no_more() -> None:
    store = Store()
    store.gate.clear()
    async with lane_on(store) as (lane, delivered):
        futures = [lane.send(command(number)) for number in range(10)]
        await until(lambda: store.groups)
        stopping = asyncio.ensure_future(lane.stop())
        await asyncio.sleep(0)
        with pytest.raises(LaneStopped):
            lane.send(command("late"))
        store.gate.set()
        await stopping
        assert all(future.done() for future in futures)
    assert len(delivered) == 10
    assert store.connections[0].closed


def test_errors_of_the_lane_have_stable_codes() -> None:
    codes = {error: error.code for error in (LaneFull, LaneStopped)}
    assert codes == {LaneFull: "RESOURCE_EXHAUSTED", LaneStopped: "UNAVAILABLE"}
    assert issubclass(LaneFull, GreenroomError)
