"""What a client has missed costs what it has missed, and not what its channels hold."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.chat.deltas import DeltaReader
from server.chat.models import Channel, Member
from server.chat.rules import Cursor, Resumed
from server.chat.usecases.sync import SyncPage, sync_channels
from server.chat.usecases.unread import MOST_UNREAD, list_unread
from server.core.db import database, sql
from server.core.unit import Unit
from tests.rpc.chat.store import Store, store_on

STEPS = 100
"""The virtual machine of SQLite reports after so many of its instructions."""
COLUMNS = """
    id, channel_id, seq, sender_id, client_id, type, text, create_time, update_time, special, change
"""


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    if not database_url.startswith("sqlite"):
        pytest.skip(reason="PostgreSQL does not count its instructions")
    with store_on(database_url, tmp_path) as opened:
        asyncio.run(opened.people())
        yield opened


def fill(store: Store, count: int) -> str:
    """A channel of Ann and Bob that holds so many messages of Ann's, each tenth of them changed."""

    def work(unit: Unit) -> str:
        channel = Channel.create(
            type="GROUP", title=str(count), last_seq=count, last_change=count // 10
        )
        for user_id in (store.ann, store.bob):
            Member.insert(
                channel_id=channel.id,
                user_id=user_id,
                create_time=unit.now,
                update_time=unit.now,
            ).execute()
        numbers = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?)"
        sql(
            f"""{numbers} INSERT INTO chat_messages ({COLUMNS}) SELECT ? || n, ?, n, ?, ? || n,
            'TEXT', 'hello', 1, 1, n % 10 = 0, CASE WHEN n % 10 = 0 THEN n / 10 ELSE 0 END FROM s""",
            *(count, channel.id, channel.id, store.ann, channel.id),
        )
        return channel.id

    return store.database.run_here(work, write=True)


def cost(store: Store, work: Callable[[Unit], Any]) -> int:
    """How many hundred instructions SQLite needs for some reading."""
    ran = [0]

    def count() -> int:
        ran[0] += 1
        return 0

    def measured(unit: Unit) -> None:
        connection = database.obj.connection()
        connection.set_progress_handler(count, STEPS)
        work(unit)
        connection.set_progress_handler(None, 0)

    store.database.run_here(measured, write=False)
    return ran[0]


def sync(store: Store, channel: str, cursor: Cursor | None) -> Callable[[Unit], SyncPage]:
    deltas = DeltaReader(store.statements)
    resumed = None if cursor is None else Resumed({channel: cursor}, follows=True, made=1)
    return lambda unit: sync_channels(unit, deltas, store.bob, resumed, 20)


def changed(store: Store, channel: str, after: int) -> Callable[[Unit], Any]:
    return lambda unit: store.history.changed(unit, channel, after, 16)


def test_it_costs_the_same_at_2_000_and_at_60_000_messages(store: Store) -> None:
    """One channel at a time: the other is added when the first is measured."""
    costs = []
    small, large = 2 * MOST_UNREAD, 60 * MOST_UNREAD
    for count in (small, large):
        channel = fill(store, count)
        delta = Cursor(1, count - 50, count // 10 - 50)
        works = (
            sync(store, channel, None),
            sync(store, channel, delta),
            sync(store, channel, Cursor(1, count, count // 10)),
            lambda unit: list_unread(unit, store.bob),
            changed(store, channel, count // 10 - 16),
        )
        page = store.database.run_here(works[1], write=False)
        assert (len(page.news[0].messages), len(page.news[0].changed)) == (50, 45)
        costs.append([cost(store, work) for work in works])
        store.database.run_here(lambda _unit: Member.delete().execute(), write=True)
    for few, many in zip(*costs, strict=True):
        assert many <= 1.2 * few + 5, costs
