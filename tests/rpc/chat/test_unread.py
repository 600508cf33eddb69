"""MarkUnread and GetUnreadCounts."""

from datetime import timedelta
from typing import Any

from grpc import StatusCode

from greenroom.chat.v1 import read_service_pb2 as reads
from server.chat.models import Channel, Member, Message
from server.chat.usecases.unread import MOST_UNREAD, unread_counts
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.scenes import Room, direct, in_unit, outcome_of
from tests.support.serve import Person
from tests.support.statuses import failure_of, field_names, refused

FOREIGN = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


async def mark_unread(room: Room, seq: int, by: Person) -> reads.MarkUnreadResponse:
    return await room.server.reads.MarkUnread(
        reads.MarkUnreadRequest(channel_id=room.channel.id, seq=seq), metadata=by.metadata
    )


async def unread(room: Room, by: Person) -> reads.GetUnreadCountsResponse:
    return await room.server.reads.GetUnreadCounts(
        reads.GetUnreadCountsRequest(), metadata=by.metadata
    )


async def count(room: Room, by: Person) -> int:
    reply = await unread(room, by)
    assert len(reply.channels) <= 1
    return reply.channels[0].unread_count if reply.channels else 0


async def change(room: Room, values: dict[str, Any], *where: Any) -> None:
    """Changes rows behind the server's back."""
    model = where[0].lhs.model
    await in_unit(room.server, lambda _unit: model.update(values).where(*where).execute())


async def test_messages_of_others_count_until_they_are_read(room: Room) -> None:
    await room.send_many(3)
    await room.send(by=room.bob)
    assert (await count(room, room.bob), await count(room, room.ann)) == (3, 1)
    await room.mark_read(2, room.bob)
    assert await count(room, room.bob) == 1
    await room.mark_read(4, room.bob)
    assert not (await unread(room, room.bob)).channels


async def test_deleted_messages_do_not_count(room: Room) -> None:
    sent = await room.send_many(3)
    await change(room, {"special": True, "delete_time": 1}, Message.id == sent[1].id)
    assert await count(room, room.bob) == 2


async def test_a_thousand_stands_for_more(room: Room) -> None:
    await room.fill(MOST_UNREAD + 5)
    assert await count(room, room.bob) == MOST_UNREAD
    await room.mark_read(6, room.bob)
    assert await count(room, room.bob) == MOST_UNREAD - 1


async def test_what_was_said_before_somebody_joined_is_read(room: Room) -> None:
    await room.send_many(3)
    own = (Member.user_id == room.bob.id, Member.channel_id == room.channel.id)
    await change(room, {"joined_seq": 2}, *own)
    assert await count(room, room.bob) == 1
    assert (await mark_unread(room, 1, room.bob)).unread_count == 3
    assert await count(room, room.bob) == 3


async def test_the_newest_come_first_and_muted_ones_are_left_out_of_the_total(room: Room) -> None:
    server, bob = room.server, room.bob
    cid = await server.person("Cid")
    other = Room(server, cid, bob, await direct(server, cid, bob.id))
    await room.send_many(2)
    server.clock.advance(1)  # type: ignore[attr-defined]
    await other.send()
    reply = await unread(room, bob)
    assert [(row.channel_id, row.unread_count) for row in reply.channels] == [
        (other.channel.id, 1),
        (room.channel.id, 2),
    ]
    assert reply.total_count == 3
    mine = (Member.user_id == bob.id, Member.channel_id == room.channel.id)
    await change(room, {"mute_until": server.clock.now() + timedelta(seconds=60)}, *mine)
    reply = await unread(room, bob)
    assert [row.muted for row in reply.channels] == [False, True]
    assert reply.total_count == 1
    server.clock.advance(60)  # type: ignore[attr-defined]
    assert (await unread(room, bob)).total_count == 3


async def test_mentions_are_counted(room: Room) -> None:
    sent = await room.send_many(2)
    mention = {"special": True, "mentions": [new_id(), room.bob.id]}
    await change(room, mention, Message.id == sent[0].id)
    reply = await unread(room, room.bob)
    assert (reply.channels[0].mention_count, reply.total_mention_count) == (1, 1)
    await room.mark_read(1, room.bob)
    assert (await unread(room, room.bob)).total_mention_count == 0


async def test_unread_from_a_message_on(room: Room) -> None:
    await room.send_many(5)
    await room.mark_read(5, room.bob)
    reply = await mark_unread(room, 4, room.bob)
    assert (reply.unread_from_seq, reply.unread_count) == (4, 2)
    assert await count(room, room.bob) == 2
    assert await room.mark_read(3, room.bob) == 5, "a late mark of before it"
    assert await count(room, room.bob) == 2
    assert await room.mark_read(5, room.bob) == 5
    assert await count(room, room.bob) == 0


async def test_what_lies_between_the_read_mark_and_an_unread_message_stays_unread(
    room: Room,
) -> None:
    await room.send_many(5)
    await room.mark_read(1, room.bob)
    assert (await mark_unread(room, 4, room.bob)).unread_count == 4


async def test_only_the_own_devices_hear_of_it(room: Room) -> None:
    await room.send_many(5)
    await room.mark_read(5, room.bob)
    async with room.watch(room.bob) as own, room.watch(room.ann) as other:
        await own.caught_up()
        await other.caught_up()
        heard = len(own.of_kind("read")), len(other.of_kind("read"))
        await mark_unread(room, 4, room.bob)
        await mark_unread(room, 4, room.bob)
        await own.until(lambda watch: len(watch.of_kind("read")) > heard[0])
        event = own.of_kind("read")[-1].read
        assert (event.user_id, event.seq, event.unread_from_seq) == (room.bob.id, 5, 4)
        await room.mark_read(5, room.bob)
        await own.until(lambda watch: len(watch.of_kind("read")) > heard[0] + 1)
        assert own.of_kind("read")[-1].read.unread_from_seq == 0
        await room.send("after it all")
        await other.messages(1)
        assert len(other.of_kind("read")) == heard[1]


async def test_a_stream_that_was_away_hears_of_it(room: Room) -> None:
    await room.send_many(3)
    async with room.watch(room.bob) as before:
        await before.caught_up()
    await mark_unread(room, 2, room.bob)
    async with (
        room.watch(room.bob, resume_token=before.token) as own,
        room.watch(room.ann) as other,
    ):
        await own.caught_up()
        await other.caught_up()
    [event] = own.of_kind("read")
    assert (event.read.seq, event.read.unread_from_seq) == (0, 2)
    assert not other.of_kind("read")


async def test_wrong_numbers_and_wrong_callers(room: Room) -> None:
    await room.send()
    ahead = await refused(
        mark_unread(room, 2, room.bob),
        StatusCode.INVALID_ARGUMENT,
        "CHAT_ERROR_REASON_SEQ_AHEAD",
    )
    assert field_names(ahead) == ["seq"]
    zero = await failure_of(mark_unread(room, 0, room.bob))
    assert (zero.code(), field_names(zero)) == (StatusCode.INVALID_ARGUMENT, ["seq"])
    eve = await room.server.person("Eve")
    foreign = await refused(mark_unread(room, 1, eve), *FOREIGN)
    room.channel.id = new_id()
    absent = await refused(mark_unread(room, 1, eve), *FOREIGN)
    assert outcome_of(foreign) == outcome_of(absent)


async def test_channels_of_others_are_not_counted(room: Room) -> None:
    await room.send_many(2)
    eve = await room.server.person("Eve")
    assert not (await unread(room, eve)).channels

    def work(unit: Unit) -> tuple[dict[str, int], ...]:
        ids = [room.channel.id, new_id()]
        return tuple(unread_counts(unit, who, ids) for who in (eve.id, room.bob.id))

    assert await in_unit(room.server, work) == ({}, {room.channel.id: 2})
    assert await in_unit(room.server, lambda unit: unread_counts(unit, eve.id, [])) == {}
    assert await in_unit(room.server, lambda _unit: Channel.select().count()) == 1
