"""The seam between history and live: nothing lost, nothing doubled, however a reader comes and goes."""

import asyncio
import itertools
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpc import StatusCode, aio

from server.chat.sending import SendCommand, Sent
from server.core.ids import new_id
from tests.rpc.chat.scenes import SECONDS, Room, chat_of, direct

SUBSCRIPTIONS = int(os.environ.get("SEAM_SUBSCRIPTIONS", "300"))
"""A few hundred are enough here to see a seam that is open; `make soak-seam` counts 10,000."""

LOOK_BACK = 2000
"""How far back a subscription begins at most: more would only be reading."""


@asynccontextmanager
async def writing(room: Room) -> AsyncIterator[list[int]]:
    """Both people write as fast as answers come, until the block is left; the numbers so far."""
    stored: list[int] = []
    stopped = False

    async def write(number: int) -> None:
        while not stopped:
            message = await room.send(by=(room.ann, room.bob)[number % 2])
            stored.append(message.seq)

    tasks = [asyncio.create_task(write(number)) for number in range(4)]
    try:
        yield stored
    finally:
        stopped = True
        await asyncio.gather(*tasks)


async def test_subscriptions_made_during_writes_have_no_gap_and_no_double(room: Room) -> None:
    chance = random.Random(3)
    async with writing(room) as stored:

        async def opened(number: int) -> None:
            # A machine with more to do than it can refuses some; they come again.
            while True:
                try:
                    return await look(number)
                except aio.AioRpcError as error:
                    if error.code() is not StatusCode.RESOURCE_EXHAUSTED:
                        raise

        async def look(number: int) -> None:
            await asyncio.sleep(0)
            head = max(stored, default=0)
            after = chance.randint(max(0, head - LOOK_BACK), head)
            async with room.watch(
                by=(room.ann, room.bob)[number % 2], cursors=[room.at(after)]
            ) as watch:
                await watch.caught_up()
                at_heartbeat = len(watch.seqs)
                await watch.until(lambda watch: len(watch.seqs) > at_heartbeat + 3)
            assert watch.seqs == list(range(after + 1, after + 1 + len(watch.seqs)))

        for begin in range(0, SUBSCRIPTIONS, 20):
            await asyncio.gather(*(opened(number) for number in range(begin, begin + 20)))


async def test_a_reader_that_is_cut_again_and_again_sees_everything_once(room: Room) -> None:
    seen: list[int] = []
    async with room.watch() as first:
        await first.caught_up()
    token = first.token
    async with writing(room) as stored:
        for _ in range(40):
            async with room.watch(resume_token=token) as watch:
                await watch.until(lambda watch: watch.heartbeats and len(watch.seqs) > 2)
            # What came after the last token comes again: a client goes on from what it has seen.
            last = watch.seqs[-1]
            seen += watch.seqs
            async with room.watch(resume_token=watch.token, cursors=[room.at(last)]) as watch:
                await watch.caught_up()
            seen += watch.seqs
            token = watch.token
    async with room.watch(resume_token=token) as watch:
        await watch.messages(max(stored) - max(seen))
    seen += watch.seqs
    assert seen == list(range(1, max(stored) + 1))


async def test_ten_thousand_missed_events_come_whole(room: Room) -> None:
    lane = chat_of(room.server).lane
    for begin in range(0, 10_000, 1000):
        await asyncio.gather(
            *(
                lane.send(SendCommand(room.channel.id, room.ann.id, new_id(), str(number)))
                for number in range(begin, begin + 1000)
            )
        )
    async with room.watch(cursors=[room.at(0)]) as watch:
        await watch.messages(10_000)
        await watch.caught_up()
    assert watch.seqs == list(range(1, 10_001))


async def test_what_another_process_stores_arrives_without_any_news(room: Room) -> None:
    """As if the bus had lost it: only the database knows."""
    async with room.watch() as watch:
        await watch.caught_up()
        await room.send()
        for number in range(3):
            await store_silently(room, f"silent {number}")
        began = asyncio.get_running_loop().time()
        await watch.messages(4)
        assert asyncio.get_running_loop().time() - began < SECONDS
        # What is sent here now shows the hole at once.
        await store_silently(room, "silent")
        await room.send()
        await watch.messages(6)
    assert watch.seqs == [1, 2, 3, 4, 5, 6]


async def test_a_membership_of_which_the_news_was_lost_is_found(room: Room) -> None:
    cid = await room.server.person("Cid")
    hub = chat_of(room.server).hub
    hub.joined = lambda *_: None  # type: ignore[method-assign]
    async with room.watch(by=room.bob) as watch:
        await watch.caught_up()
        other = Room(room.server, cid, room.bob, await direct(room.server, cid, room.bob.id))
        await other.send("early")
        del hub.joined  # type: ignore[method-assign]
        await watch.messages(1)
    assert watch.events[0].channel_id == other.channel.id


_numbers = itertools.count()


async def store_silently(room: Room, text: str) -> Sent:
    """Stores a message as another process would, and tells nobody."""
    database = room.server.running.parts.database
    write = chat_of(room.server).lane._write

    def work() -> Sent:
        command = SendCommand(room.channel.id, room.ann.id, f"silent-{next(_numbers)}", text)
        with database.dedicated() as connection, database.writer_lock:
            [sent] = write(connection, [command])
        assert isinstance(sent, Sent)
        return sent

    return await asyncio.to_thread(work)
