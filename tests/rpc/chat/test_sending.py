"""Groups of sends on a real database: what one transaction makes of them, and of each other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from greenroom.chat.v1 import channel_pb2
from server.chat.errors import ChannelNotFound, ClientIdReused
from server.chat.lane import Lane
from server.chat.models import Channel, Member, Message
from server.chat.sending import SendCommand, Sent
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.store import Store, Writers, sent, store_on


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    """Ann and Bob, without a channel."""
    with store_on(database_url, tmp_path) as opened:
        await opened.people()
        yield opened


async def stored(store: Store) -> dict[str, list[int]]:
    """The numbers of all messages by channel; each channel's head is held against them."""

    def work(_unit: Unit) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {row.id: [] for row in Channel.select()}
        for row in Message.select().order_by(Message.channel_id, Message.seq):
            found[row.channel_id].append(row.seq)
        heads = {row.id: row.last_seq for row in Channel.select()}
        assert heads == {key: max(seqs, default=0) for key, seqs in found.items()}
        return found

    return await store.database.run(work, write=False)


async def test_a_group_over_channels_keeps_the_order_of_its_commands(store: Store) -> None:
    channels = [await store.channel() for _ in range(3)]
    commands = [store.send(channels[number % 3], str(number)) for number in range(30)]
    outcomes = [sent(outcome) for outcome in store.write(*commands)]
    for number, outcome in enumerate(outcomes):
        message = channel_pb2.Message.FromString(outcome.encoded)
        assert (message.text, message.seq) == (str(number), number // 3 + 1)
        assert (outcome.channel_id, outcome.seq, outcome.fresh) == (
            channels[number % 3],
            message.seq,
            True,
        )
        assert message.create_time.ToMicroseconds() == store.writer._now()
    assert await stored(store) == {key: list(range(1, 11)) for key in channels}


async def test_refusals_do_not_hurt_the_rest_of_their_group(store: Store) -> None:
    channel = await store.channel(store.bob)
    [first] = store.write(store.send(channel, "one", "x"))
    outcomes = store.write(
        store.send(channel, "two"),
        SendCommand(channel, new_id(), "x", "no member"),
        store.send(new_id(), "no channel"),
        store.send(channel, "one", "x"),
        store.send(channel, "another text", "x"),
        store.send(channel, "three", "y"),
        store.send(channel, "three", "y"),
        store.send(channel, "not three", "y"),
        SendCommand(channel, store.bob, "y", "bob's own"),
    )
    assert [type(outcome) for outcome in outcomes if not hasattr(outcome, "seq")] == [
        ChannelNotFound,
        ChannelNotFound,
        ClientIdReused,
        ClientIdReused,
    ]
    assert sent(outcomes[3]).encoded == sent(first).encoded
    assert not sent(outcomes[3]).fresh
    assert sent(outcomes[5]).encoded == sent(outcomes[6]).encoded
    assert (sent(outcomes[5]).fresh, sent(outcomes[6]).fresh) == (True, False)
    assert sent(outcomes[8]).seq == 4
    assert await stored(store) == {channel: [1, 2, 3, 4]}


async def test_a_retry_by_somebody_who_left_still_gets_the_message(store: Store) -> None:
    channel = await store.channel(store.bob)
    [first] = store.write(store.send(channel, "one", "x"))
    await store.database.run(lambda _unit: Member.delete().execute(), write=True)
    [again, new] = store.write(store.send(channel, "one", "x"), store.send(channel, "two"))
    assert sent(again).encoded == sent(first).encoded
    assert isinstance(new, ChannelNotFound)


async def test_writers_side_by_side_number_without_a_gap(store: Store) -> None:
    """As several processes on one database; on SQLite they take turns anyway."""
    channels = [await store.channel() for _ in range(4)]
    writers = Writers()

    def write(turn: int) -> None:
        for number in range(15):
            # In another order each time: locks are taken in one order all the same.
            mine = channels[turn:] + channels[:turn]
            store.write(*(store.send(channel, str(number)) for channel in mine for _ in range(3)))

    for turn in range(4):
        writers.start(lambda turn=turn: write(turn))
    await asyncio.to_thread(writers.join)
    assert await stored(store) == {key: list(range(1, 181)) for key in channels}


async def test_writers_side_by_side_make_one_message_of_a_client_id(store: Store) -> None:
    channel = await store.channel(store.bob)
    writers = Writers()
    made: list[bytes] = []
    command = [store.send(channel, "once", f"c{number}") for number in range(20)]

    def write() -> None:
        for one in command:
            made.append(sent(store.write(one)[0]).encoded)

    for _ in range(4):
        writers.start(write)
    await asyncio.to_thread(writers.join)
    assert len(made) == 80
    assert len(set(made)) == 20
    assert await stored(store) == {channel: list(range(1, 21))}


async def test_a_lane_whose_connection_is_cut_goes_on_and_makes_one_message(store: Store) -> None:
    if store.database.kind == "sqlite":
        pytest.skip(reason="SQLite has no connection that could be cut")
    channel = await store.channel(store.bob)
    delivered: list[Sent] = []
    lane = Lane(
        dedicated=store.database.dedicated,
        writer_lock=store.database.writer_lock,
        write=store.writer.write,
        deliver=delivered.extend,
    )
    lane.start()
    await lane.send(store.send(channel, "before"))
    for number in range(3):
        await asyncio.to_thread(cut_all_connections, store)
        await lane.send(store.send(channel, f"after {number}"))
    await lane.stop()
    assert [one.seq for one in delivered] == [1, 2, 3, 4]
    assert await stored(store) == {channel: [1, 2, 3, 4]}


def cut_all_connections(store: Store) -> None:
    """As a restart of PostgreSQL would."""
    with store.database.dedicated() as connection, suppress(psycopg2.Error):
        connection.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
