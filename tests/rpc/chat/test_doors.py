"""The doors: what later modules do with conversations, in their own units of work, while people watch."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from server.chat.errors import ChannelArchived, ChannelNotFound, MessageEmpty, TextNotStorable
from server.chat.models import Channel, Departure, Member, Message
from server.core.ids import new_id
from server.core.text_search import folded
from server.core.unit import Unit
from tests.rpc.chat.groups import (
    MEMBER,
    Group,
    doors_of,
    get_channel,
    list_channels,
    members_in,
    send,
    watching,
)
from tests.rpc.chat.scenes import Room, in_unit, outcome_of
from tests.rpc.chat.test_groups import ARCHIVED, GONE, NO_GROUP
from tests.support.serve import Greenroom, Person
from tests.support.statuses import field_names, refused

T = TypeVar("T")
KINDS = {
    "open_order": channel_pb2.CHANNEL_TYPE_ORDER,
    "open_ticket": channel_pb2.CHANNEL_TYPE_TICKET,
}


async def elsewhere(server: Greenroom, work: Callable[[Unit], T]) -> T:
    """Another module's unit of work."""
    return await server.running.parts.database.run(work, write=True)


async def open_order(server: Greenroom, order_id: str, *people: Person) -> str:
    """What the module of orders does when somebody orders."""
    ids = [person.id for person in people]
    return await elsewhere(server, lambda unit: doors_of(server).open_order(unit, order_id, ids))


async def order_channel(server: Greenroom, by: Person, order_id: str) -> channel_pb2.Channel:
    """GetOrderChannel."""
    reply = await server.channels.GetOrderChannel(
        channels.GetOrderChannelRequest(order_id=order_id), metadata=by.metadata
    )
    return reply.channel


async def members_of(server: Greenroom, channel_id: str) -> tuple[set[str], set[str]]:
    """Who is in a channel, and who was."""

    def read(_unit: Unit) -> tuple[set[str], set[str]]:
        found = [
            {row.user_id for row in table.select().where(table.channel_id == channel_id)}
            for table in (Member, Departure)
        ]
        return found[0], found[1]

    return await in_unit(server, read)


async def test_an_order_has_its_channel(room: Room) -> None:
    server, order_id = room.server, new_id()
    channel_id = await open_order(server, order_id, room.ann, room.bob)
    anns = await order_channel(server, room.ann, order_id)
    assert (anns.id, anns.order_id) == (channel_id, order_id)
    assert anns.type == channel_pb2.CHANNEL_TYPE_ORDER and anns.own_role == MEMBER
    assert set(anns.member_ids) == {room.ann.id, room.bob.id}
    sent = await send(server, room.ann, channel_id)
    assert (await order_channel(server, room.bob, order_id)).last_message == sent
    listed = await list_channels(server, room.bob, type=channel_pb2.CHANNEL_TYPE_ORDER)
    assert [channel.id for channel in listed.channels] == [channel_id]


async def test_somebody_elses_order_looks_like_none(room: Room) -> None:
    eve, order_id = await room.server.person("Eve"), new_id()
    await open_order(room.server, order_id, room.ann, room.bob)
    foreign = await refused(order_channel(room.server, eve, order_id), *GONE)
    absent = await refused(order_channel(room.server, eve, new_id()), *GONE)
    assert outcome_of(foreign) == outcome_of(absent)
    error = await refused(
        order_channel(room.server, eve, "42"),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_INVALID_FIELD",
    )
    assert field_names(error) == ["order_id"]
    await refused(
        room.server.channels.GetOrderChannel(channels.GetOrderChannelRequest(order_id=order_id)),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_MISSING",
    )


@pytest.mark.parametrize("door", KINDS)
async def test_a_channel_is_opened_once(room: Room, door: str) -> None:
    server, key = room.server, new_id()
    ids = [room.ann.id, room.bob.id]

    def work(unit: Unit) -> str:
        return str(getattr(doors_of(server), door)(unit, key, ids))

    found = await asyncio.gather(*(elsewhere(server, work) for _ in range(8)))
    assert len(set(found)) == 1
    seen = await get_channel(server, room.ann, found[0])
    assert (seen.type, seen.member_count) == (KINDS[door], 2)
    assert key in (seen.order_id, seen.ticket_id)
    before = seen.last_change
    await elsewhere(server, work)
    assert (await get_channel(server, room.ann, found[0])).last_change == before


async def test_the_ids_of_what_was_opened_can_be_asked_for(room: Room) -> None:
    server, doors = room.server, doors_of(room.server)
    order_id, ticket_id = new_id(), new_id()
    channel_id = await open_order(server, order_id, room.ann)
    assert await elsewhere(server, lambda unit: doors.order_channel(unit, order_id)) == channel_id
    with pytest.raises(ChannelNotFound):
        await elsewhere(server, lambda unit: doors.ticket_channel(unit, ticket_id))
    opened = await elsewhere(server, lambda unit: doors.open_ticket(unit, ticket_id, [room.bob.id]))
    assert await elsewhere(server, lambda unit: doors.ticket_channel(unit, ticket_id)) == opened


async def test_members_follow_the_order(room: Room) -> None:
    server, order_id = room.server, new_id()
    cid = await server.person("Cid")
    channel_id = await open_order(server, order_id, room.ann, room.bob)
    await send(server, room.ann, channel_id, "before")
    async with watching(server, room.ann, room.bob, cid) as [ann, bob, new]:
        await open_order(server, order_id, room.ann, cid)
        await bob.until(lambda watch: watch.of_kind("ended"))
        await ann.until(lambda watch: len(watch.of_kind("member")) == 2)
        await send(server, room.ann, channel_id, "after")
        assert await new.messages(1) == [2]
    assert sorted(members_in(ann)) == sorted([(room.bob.id, 0), (cid.id, MEMBER)])
    assert bob.events[-1].WhichOneof("payload") == "ended"
    await refused(send(server, room.bob, channel_id), *GONE)
    assert await members_of(server, channel_id) == ({room.ann.id, cid.id}, {room.bob.id})
    await open_order(server, order_id, room.bob)
    assert await members_of(server, channel_id) == ({room.bob.id}, {room.ann.id, cid.id})


async def test_the_members_of_other_channels_follow_nothing(room: Room) -> None:
    doors, channel_id = doors_of(room.server), room.channel.id
    with pytest.raises(ValueError, match="DIRECT"):
        await elsewhere(room.server, lambda unit: doors.set_members(unit, channel_id, []))
    with pytest.raises(ChannelNotFound):
        await elsewhere(room.server, lambda unit: doors.set_members(unit, new_id(), ["x"]))


async def test_nobody_is_added_to_an_order_by_its_members(room: Room) -> None:
    channel_id = await open_order(room.server, new_id(), room.ann, room.bob)
    channel = await get_channel(room.server, room.ann, channel_id)
    order = Group(room.server, room.ann, room.bob, room.bob, room.bob, channel)
    for call in (
        order.add(room.bob),
        order.remove(room.bob),
        order.leave(room.bob),
        order.update(title="Mine"),
        order.archive(),
    ):
        await refused(call, *NO_GROUP)


async def test_the_system_speaks(room: Room) -> None:
    server, doors = room.server, doors_of(room.server)
    channel_id = await open_order(server, new_id(), room.ann, room.bob)
    await send(server, room.ann, channel_id)
    async with watching(server, room.bob) as watch:
        seq = await elsewhere(
            server, lambda unit: doors.post_system(unit, channel_id, "Delivered: Überraschung")
        )
        assert seq == 2
        await send(server, room.ann, channel_id)
        assert await watch.messages(2) == [2, 3]
    told = watch.of_kind("message")[0].message
    assert (told.type, told.sender_id) == (channel_pb2.MESSAGE_TYPE_SYSTEM, "")
    assert told.text == "Delivered: Überraschung"
    seen = await get_channel(server, room.ann, channel_id)
    assert (seen.last_seq, seen.unread_count) == (3, 1)
    row = await in_unit(server, lambda _unit: Message.get_by_id(told.id))
    assert row.folded == folded(told.text)


async def test_words_of_the_system_and_of_people_have_one_numbering(room: Room) -> None:
    server, doors, count = room.server, doors_of(room.server), 15
    channel_id = await open_order(server, new_id(), room.ann, room.bob)
    async with watching(server, room.bob) as watch:
        await asyncio.gather(
            *(send(server, room.ann, channel_id, str(n)) for n in range(count)),
            *(
                elsewhere(server, lambda unit, n=n: doors.post_system(unit, channel_id, f"s{n}"))  # type: ignore[misc]
                for n in range(count)
            ),
        )
        assert await watch.messages(2 * count) == list(range(1, 2 * count + 1))
    texts = {event.message.text for event in watch.of_kind("message")}
    assert texts == {str(n) for n in range(count)} | {f"s{n}" for n in range(count)}


async def test_what_the_system_cannot_say(room: Room) -> None:
    server, doors, channel_id = room.server, doors_of(room.server), room.channel.id
    for text, error in (("", MessageEmpty), ("\0", TextNotStorable)):
        with pytest.raises(error):
            await elsewhere(server, lambda unit, t=text: doors.post_system(unit, channel_id, t))  # type: ignore[misc]
    with pytest.raises(ChannelNotFound):
        await elsewhere(server, lambda unit: doors.post_system(unit, new_id(), "x"))
    await elsewhere(server, lambda unit: doors.archive(unit, channel_id))
    with pytest.raises(ChannelArchived):
        await elsewhere(server, lambda unit: doors.post_system(unit, channel_id, "x"))
    last_seq = await in_unit(server, lambda _unit: Channel.get_by_id(channel_id).last_seq)
    assert last_seq == 0


async def test_an_order_is_over(room: Room) -> None:
    server, doors = room.server, doors_of(room.server)
    channel_id = await open_order(server, new_id(), room.ann, room.bob)
    async with watching(server, room.bob) as watch:

        def end(unit: Unit) -> None:
            doors.post_system(unit, channel_id, "The order is done.")
            doors.archive(unit, channel_id)

        await elsewhere(server, end)
        await watch.until(lambda watch: watch.of_kind("channel") and watch.seqs)
    assert watch.seqs == [1] and watch.of_kind("channel")[0].channel.HasField("archive_time")
    await refused(send(server, room.ann, channel_id), *ARCHIVED)
    assert (await get_channel(server, room.ann, channel_id)).last_message.seq == 1


async def test_a_unit_that_fails_leaves_nothing_and_tells_nobody(room: Room) -> None:
    server, doors, order_id = room.server, doors_of(room.server), new_id()
    channel_id = await open_order(server, order_id, room.ann, room.bob)
    cid = await server.person("Cid")

    def fail(unit: Unit) -> None:
        doors.post_system(unit, channel_id, "never said")
        doors.open_order(unit, order_id, [cid.id])
        doors.open_ticket(unit, new_id(), [cid.id])
        doors.archive(unit, channel_id)
        doors.set_blocked(unit, room.ann.id, room.bob.id, blocked=True)
        raise RuntimeError("the order could not be stored")

    async with watching(server, room.bob, cid) as [bob, new]:
        with pytest.raises(RuntimeError):
            await elsewhere(server, fail)
        await send(server, room.ann, channel_id, "said")
        assert await bob.messages(1) == [1]
    assert [event.WhichOneof("payload") for event in bob.events] == ["message"]
    assert not new.events
    assert await members_of(server, channel_id) == ({room.ann.id, room.bob.id}, set())
    assert await in_unit(server, lambda _unit: Channel.select().count()) == 2
