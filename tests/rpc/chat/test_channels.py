"""GetDirectChannel, MarkRead, SendTyping."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from greenroom.chat.v1 import message_service_pb2 as messages
from server.auth.models import User
from server.chat.models import Channel, Member
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, direct, in_unit, outcome_of
from tests.support.serve import Greenroom
from tests.support.statuses import failure_of, field_names, refused

FOREIGN = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


async def test_both_get_the_same_channel(room: Room) -> None:
    again = await direct(room.server, room.bob, room.ann.id)
    assert again == room.channel
    assert set(again.member_ids) == {room.ann.id, room.bob.id}
    assert again.type == channel_pb2.CHANNEL_TYPE_DIRECT
    assert (again.epoch, again.last_seq, again.last_read_seq) == (1, 0, 0)
    assert again.HasField("create_time")


async def test_the_channel_says_where_it_stands(room: Room) -> None:
    await room.send_many(3)
    await room.mark_read(2, room.bob)
    mine, theirs = await asyncio.gather(
        direct(room.server, room.bob, room.ann.id), direct(room.server, room.ann, room.bob.id)
    )
    assert (mine.last_seq, mine.last_read_seq, theirs.last_read_seq) == (3, 2, 0)


async def test_32_calls_at_once_make_one_channel(server: Greenroom) -> None:
    ann, bob = await server.person("Ann"), await server.person("Bob")
    found = await asyncio.gather(
        *(direct(server, ann, bob.id) for _ in range(16)),
        *(direct(server, bob, ann.id) for _ in range(16)),
    )
    assert len({channel.id for channel in found}) == 1
    counts = await in_unit(
        server, lambda _unit: (Channel.select().count(), Member.select().count())
    )
    assert counts == (1, 2)


async def test_nobody_talks_to_themselves(room: Room) -> None:
    error = await refused(
        direct(room.server, room.ann, room.ann.id),
        StatusCode.INVALID_ARGUMENT,
        "CHAT_ERROR_REASON_DIRECT_WITH_SELF",
    )
    assert field_names(error) == ["user_id"]


async def test_who_is_not_there_and_who_is_not_active_look_the_same(room: Room) -> None:
    absent = await refused(
        direct(room.server, room.ann, new_id()),
        StatusCode.NOT_FOUND,
        "CHAT_ERROR_REASON_USER_NOT_FOUND",
    )
    await in_unit(
        room.server,
        lambda _unit: User.update(status="SUSPENDED").where(User.id == room.bob.id).execute(),
    )
    suspended = await failure_of(direct(room.server, room.ann, room.bob.id))
    assert outcome_of(suspended) == outcome_of(absent)


async def test_a_read_mark_only_moves_forward(room: Room) -> None:
    await room.send_many(5)
    assert await room.mark_read(3, room.bob) == 3
    assert await room.mark_read(2, room.bob) == 3
    assert await room.mark_read(3, room.bob) == 3
    assert await room.mark_read(5, room.bob) == 5


async def test_parallel_read_marks_end_at_the_highest(room: Room) -> None:
    await room.send_many(20)
    await asyncio.gather(*(room.mark_read(seq, room.bob) for seq in range(1, 21)))
    assert await room.mark_read(1, room.bob) == 20


async def test_a_read_mark_beyond_the_newest_message_is_refused(room: Room) -> None:
    await room.send()
    error = await refused(
        room.mark_read(2, room.bob),
        StatusCode.INVALID_ARGUMENT,
        "CHAT_ERROR_REASON_SEQ_AHEAD",
    )
    assert field_names(error) == ["seq"]


async def test_typing_reaches_the_other_once_in_two_seconds(room: Room) -> None:
    async with room.watch() as bob, room.watch(by=room.ann) as ann:
        await bob.caught_up()
        await ann.caught_up()
        await room.type(room.ann)
        await room.type(room.ann)
        await bob.until(lambda watch: watch.of_kind("typing"))
        room.server.clock.advance(2.1)  # type: ignore[attr-defined]
        await room.type(room.ann)
        await room.send(by=room.bob)
        await ann.messages(1)
        await bob.until(lambda watch: len(watch.of_kind("typing")) == 2)
    [first, second] = bob.of_kind("typing")
    assert first.typing.user_id == second.typing.user_id == room.ann.id
    assert (first.channel_id, first.seq) == (room.channel.id, 0)
    assert not ann.of_kind("typing")


CALLS: dict[str, Callable[[Greenroom, str, Any], Awaitable[object]]] = {
    "MarkRead": lambda server, channel, metadata: server.channels.MarkRead(
        channels.MarkReadRequest(channel_id=channel, seq=1), metadata=metadata
    ),
    "SendTyping": lambda server, channel, metadata: server.channels.SendTyping(
        channels.SendTypingRequest(channel_id=channel), metadata=metadata
    ),
    "SendMessage": lambda server, channel, metadata: server.messages.SendMessage(
        messages.SendMessageRequest(channel_id=channel, client_id="c", text="t"),
        metadata=metadata,
    ),
    "ListMessages": lambda server, channel, metadata: server.messages.ListMessages(
        messages.ListMessagesRequest(channel_id=channel), metadata=metadata
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_foreign_channel_looks_like_an_absent_one(room: Room, name: str) -> None:
    await room.send()
    eve = await room.server.person("Eve")
    call = CALLS[name]
    foreign = await refused(call(room.server, room.channel.id, eve.metadata), *FOREIGN)
    absent = await refused(call(room.server, new_id(), eve.metadata), *FOREIGN)
    assert outcome_of(foreign) == outcome_of(absent)
    await refused(
        call(room.server, room.channel.id, ()),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_MISSING",
    )
