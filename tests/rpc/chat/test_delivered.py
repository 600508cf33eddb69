"""MarkDelivered, and what moves the mark of delivery beside it."""

import asyncio

from grpc import StatusCode

from greenroom.chat.v1 import read_service_pb2 as reads
from server.chat.models import ReadMark
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, in_unit, outcome_of
from tests.support.serve import Person
from tests.support.statuses import failure_of, field_names, refused

FOREIGN = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


async def mark_delivered(room: Room, seq: int, by: Person) -> int:
    reply = await room.server.reads.MarkDelivered(
        reads.MarkDeliveredRequest(channel_id=room.channel.id, seq=seq), metadata=by.metadata
    )
    return reply.last_delivered_seq


async def test_the_mark_only_moves_forward(room: Room) -> None:
    await room.send_many(5)
    assert await mark_delivered(room, 3, room.bob) == 3
    assert await mark_delivered(room, 2, room.bob) == 3
    assert await mark_delivered(room, 5, room.bob) == 5


async def test_32_marks_at_once_leave_the_highest(room: Room) -> None:
    await room.fill(40)
    found = await asyncio.gather(*(mark_delivered(room, seq, room.bob) for seq in range(1, 33)))
    assert max(found) == 32
    assert await mark_delivered(room, 1, room.bob) == 32


async def test_members_see_it_once(room: Room) -> None:
    await room.send_many(3)
    async with room.watch(room.ann) as watch:
        await watch.caught_up()
        await mark_delivered(room, 2, room.bob)
        await watch.until(lambda watch: watch.of_kind("delivered"))
        await mark_delivered(room, 2, room.bob)
        await mark_delivered(room, 1, room.bob)
        await room.send("after it all")
        await watch.messages(1)
        [event] = watch.of_kind("delivered")
        assert (event.delivered.user_id, event.delivered.seq) == (room.bob.id, 2)


async def test_a_stream_that_was_away_sees_it_until_it_is_read(room: Room) -> None:
    await room.send_many(3)
    async with room.watch(room.ann) as before:
        await before.caught_up()
    await mark_delivered(room, 2, room.bob)
    async with room.watch(room.ann, resume_token=before.token) as watch:
        await watch.caught_up()
        assert [event.delivered.seq for event in watch.of_kind("delivered")] == [2]
    await room.mark_read(2, room.bob)
    async with room.watch(room.ann, resume_token=before.token) as watch:
        await watch.caught_up()
        assert not watch.of_kind("delivered")
        assert [event.read.seq for event in watch.of_kind("read")] == [2]


async def test_what_is_read_was_delivered(room: Room) -> None:
    await room.send_many(3)
    await mark_delivered(room, 1, room.bob)
    await room.mark_read(2, room.bob)
    assert await mark_delivered(room, 1, room.bob) == 2
    await mark_delivered(room, 3, room.bob)
    await room.mark_read(3, room.bob)
    marks = await in_unit(
        room.server,
        lambda _unit: list(
            ReadMark.select(ReadMark.last_read_seq, ReadMark.last_delivered_seq).tuples()
        ),
    )
    assert marks == [(3, 3)]


async def test_reading_and_delivery_at_once_lose_neither(room: Room) -> None:
    await room.fill(30)
    await asyncio.gather(
        *(room.mark_read(seq, room.bob) for seq in range(1, 16)),
        *(mark_delivered(room, seq, room.bob) for seq in range(1, 31)),
    )
    assert await room.mark_read(1, room.bob) == 15
    assert await mark_delivered(room, 1, room.bob) == 30


async def test_wrong_numbers_and_wrong_callers(room: Room) -> None:
    await room.send()
    ahead = await refused(
        mark_delivered(room, 2, room.bob),
        StatusCode.INVALID_ARGUMENT,
        "CHAT_ERROR_REASON_SEQ_AHEAD",
    )
    assert field_names(ahead) == ["seq"]
    zero = await failure_of(mark_delivered(room, 0, room.bob))
    assert (zero.code(), field_names(zero)) == (StatusCode.INVALID_ARGUMENT, ["seq"])
    eve = await room.server.person("Eve")
    foreign = await refused(mark_delivered(room, 1, eve), *FOREIGN)
    room.channel.id = new_id()
    absent = await refused(mark_delivered(room, 1, eve), *FOREIGN)
    assert outcome_of(foreign) == outcome_of(absent)
