"""GetPresence and presence events, from live streams of one server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from greenroom.chat.v1 import presence_service_pb2 as presences
from server.auth.models import User
from server.chat.models import Channel, Member, Presence
from server.chat.presence import GRACE_SECONDS, SHOWN_MEMBERS
from server.chat.usecases import presence as usecase
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.groups import make_group, send
from tests.rpc.chat.scenes import Room, Watch, chat_of, in_unit
from tests.rpc.chat.talk import pass_time, set_channel
from tests.support.serve import Person
from tests.support.statuses import failure_of, field_names

Answer = tuple[bool, bool]
"""Online, and whether a time is told."""


async def ask(room: Room, by: Person, *asked: str) -> list[event_pb2.Presence]:
    reply = await room.server.presence.GetPresence(
        presences.GetPresenceRequest(user_ids=asked), metadata=by.metadata
    )
    assert [presence.user_id for presence in reply.presences] == list(asked)
    return list(reply.presences)


async def look(room: Room, by: Person, *asked: str) -> list[Answer]:
    return [(p.online, p.HasField("last_online_time")) for p in await ask(room, by, *asked)]


async def settle(room: Room) -> None:
    """Has written what is due."""
    await chat_of(room.server).presence.step()


async def gone(room: Room) -> None:
    """The grace of those who have closed their streams is over."""
    for _ in range(100):
        if len(chat_of(room.server).presence.attendance._leaving):
            break
        await asyncio.sleep(0.01)
    pass_time(room, GRACE_SECONDS)
    await settle(room)


@asynccontextmanager
async def here(room: Room, *people: Person) -> AsyncIterator[list[Watch]]:
    """Streams of people, written down, until the block is left."""
    watches = [
        Watch(room.server.events.WatchEvents(events.WatchEventsRequest(), metadata=one.metadata))
        for one in people
    ]
    for watch in watches:
        await watch.caught_up()
    await settle(room)
    try:
        yield watches
    finally:
        for watch in watches:
            watch.close()


async def forget_sign_in(room: Room) -> None:
    """As if nobody had ever been there: signing in leaves a time, too."""
    await in_unit(room.server, lambda _unit: User.update(last_online_at=None).execute())


async def test_online_while_a_stream_is_open_and_for_a_moment_after(room: Room) -> None:
    await forget_sign_in(room)
    assert await look(room, room.ann, room.bob.id) == [(False, False)]
    async with here(room, room.bob):
        assert await look(room, room.ann, room.bob.id) == [(True, False)]
    assert await look(room, room.ann, room.bob.id) == [(True, False)]
    await gone(room)
    [presence] = await ask(room, room.ann, room.bob.id)
    assert not presence.online
    at = presence.last_online_time.ToDatetime(tzinfo=room.server.clock.now().tzinfo)
    assert at == room.server.clock.now()


async def test_a_connect_stream_counts_too(room: Room) -> None:
    call = room.server.events.Connect(metadata=room.bob.metadata)
    await call.write(events.ConnectRequest(command_id=1, ack=events.AckCommand()))
    await Watch(call).until(lambda line: line.results)
    await settle(room)
    assert await look(room, room.ann, room.bob.id) == [(True, False)]
    call.cancel()


async def test_one_of_two_streams_is_enough(room: Room) -> None:
    async with here(room, room.bob):
        async with here(room, room.bob):
            pass
        pass_time(room, GRACE_SECONDS)
        await settle(room)
        assert await look(room, room.ann, room.bob.id) == [(True, False)]


async def test_a_stream_that_is_refused_makes_nobody_online(room: Room) -> None:
    watch = room.server.events.WatchEvents(
        events.WatchEventsRequest(channel_ids=[new_id()]), metadata=room.bob.metadata
    )
    await failure_of(watch.read())
    await settle(room)
    assert (await look(room, room.ann, room.bob.id))[0][0] is False


async def test_members_see_each_other_come_and_go(room: Room) -> None:
    async with here(room, room.ann) as [watch]:
        async with here(room, room.bob):
            await watch.until(lambda watch: watch.of_kind("presence"))
        await gone(room)
        await watch.until(lambda watch: len(watch.of_kind("presence")) == 2)
        came, went = (event.presence for event in watch.of_kind("presence"))
        assert (came.user_id, came.online, came.HasField("last_online_time")) == (
            room.bob.id,
            True,
            False,
        )
        assert (went.user_id, went.online) == (room.bob.id, False)
        assert went.HasField("last_online_time")
        assert watch.of_kind("presence")[0].channel_id == room.channel.id


async def test_a_reconnect_is_not_shown(room: Room) -> None:
    async with here(room, room.ann) as [watch]:
        for _ in range(5):
            async with here(room, room.bob):
                pass_time(room, 1)
        await settle(room)
        await room.send("after it all")
        await watch.messages(1)
        assert len(watch.of_kind("presence")) == 1


async def test_nobody_is_told_of_oneself(room: Room) -> None:
    async with here(room, room.ann) as [watch]:
        async with here(room, room.ann), here(room, room.bob):
            await watch.until(lambda watch: watch.of_kind("presence"))
        assert {event.presence.user_id for event in watch.of_kind("presence")} == {room.bob.id}


async def test_only_those_who_share_a_channel_are_told_of(room: Room) -> None:
    """Strangers, unknown users and blocked ones look the same, and like one who never was there."""
    eve, cid = await room.server.person("Eve"), await room.server.person("Cid")
    await make_group(room.server, room.ann, cid)
    unknown = new_id()
    async with here(room, room.bob, cid, eve):
        answers = await ask(room, eve, room.bob.id, unknown, cid.id, eve.id)
        assert [answer.online for answer in answers] == [False, False, False, True]
        assert not any(answer.HasField("last_online_time") for answer in answers)
        assert (await look(room, room.ann, room.bob.id, cid.id, eve.id)) == [
            (True, False),
            (True, False),
            (False, False),
        ]


async def test_blocked_pairs_see_nothing_of_each_other(room: Room) -> None:
    """Not in a group of both either, in which others see both."""
    cid = await room.server.person("Cid")
    group = await make_group(room.server, room.ann, room.bob, cid)
    await set_channel(room, blocked=True)

    def bob_in(watch: Watch) -> list[event_pb2.ChatEvent]:
        told = watch.of_kind("presence")
        return [event for event in told if event.presence.user_id == room.bob.id]

    async with here(room, room.ann, cid) as [watch, other]:
        async with here(room, room.bob):
            assert await look(room, room.ann, room.bob.id) == [(False, False)]
            assert await look(room, room.bob, room.ann.id) == [(False, False)]
            await other.until(bob_in)
        await send(room.server, cid, group.id)
        await watch.messages(1)
        assert not bob_in(watch)
        assert [event.channel_id for event in bob_in(other)] == [group.id]


async def test_large_groups_are_not_told(room: Room) -> None:
    group = await make_group(room.server, room.ann, room.bob)

    def crowd(count: int) -> Callable[[Unit], None]:
        def work(unit: Unit) -> None:
            times = {"create_time": unit.now, "update_time": unit.now}
            for number in range(count):
                user = User.create(email=f"{number}-{count}@example.com", status="ACTIVE")
                Member.insert(channel_id=group.id, user_id=user.id, **times).execute()

        return work

    await in_unit(room.server, crowd(SHOWN_MEMBERS - 2))
    async with here(room, room.ann) as [watch]:
        async with here(room, room.bob):
            await watch.until(lambda watch: len(watch.of_kind("presence")) == 2)
        await gone(room)
        await watch.until(lambda watch: len(watch.of_kind("presence")) == 4)
        await in_unit(room.server, crowd(1))
        async with here(room, room.bob):
            await watch.until(lambda watch: len(watch.of_kind("presence")) == 5)
            assert watch.of_kind("presence")[-1].channel_id == room.channel.id
            assert await look(room, room.ann, room.bob.id) == [(True, False)]


async def test_who_hides_looks_offline_to_all_and_is_not_told_of(room: Room) -> None:
    class Hidden:
        def hides_presence(self, _unit: Unit, user_ids: Iterable[str]) -> set[str]:
            return {room.bob.id} & set(user_ids)

    doors = chat_of(room.server).presence._doors
    object.__setattr__(doors, "wishes", Hidden())
    async with here(room, room.ann) as [watch]:
        async with here(room, room.bob):
            assert await look(room, room.ann, room.bob.id) == [(False, False)]
            assert await look(room, room.bob, room.bob.id, room.ann.id) == [
                (True, False),
                (True, False),
            ]
        await gone(room)
        assert await look(room, room.ann, room.bob.id) == [(False, False)]
        await room.send()
        await watch.messages(1)
        assert not watch.of_kind("presence")


async def test_500_streams_at_once_are_one_transaction(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = chat_of(room.server).presence

    def users(_unit: Unit) -> list[str]:
        return [User.create(email=f"{n}@example.org", status="ACTIVE").id for n in range(500)]

    made = await in_unit(room.server, users)
    ran: list[int] = []
    update = usecase.update_presence

    def counted(unit: Unit, **more: Any) -> usecase.Update:
        ran.append(len(more["arrived"]) + len(more["departed"]))
        return update(unit, **more)

    monkeypatch.setattr(usecase, "update_presence", counted)
    for user_id in made:
        presence.opened(user_id)
    await presence.step()
    assert ran == [500]
    assert await in_unit(room.server, lambda _unit: Presence.select().count()) == 500
    for user_id in made:
        presence.closed(user_id)
    pass_time(room, GRACE_SECONDS)
    await presence.step()
    assert ran == [500, 500]


@pytest.mark.parametrize("count", [0, 101])
async def test_wrong_requests(room: Room, count: int) -> None:
    error = await failure_of(ask(room, room.ann, *(new_id() for _ in range(count))))
    assert (error.code(), field_names(error)) == (StatusCode.INVALID_ARGUMENT, ["user_ids"])


async def test_a_hundred_at_once_and_strange_ids(room: Room) -> None:
    asked = [new_id() for _ in range(99)] + [room.bob.id]
    async with here(room, room.bob):
        assert (await look(room, room.ann, *asked)) == [(False, False)] * 99 + [(True, False)]
    error = await failure_of(ask(room, room.ann, "nobody"))
    assert error.code() == StatusCode.INVALID_ARGUMENT
    twice = await failure_of(ask(room, room.ann, room.bob.id, room.bob.id))
    assert (twice.code(), field_names(twice)) == (StatusCode.INVALID_ARGUMENT, ["user_ids"])


async def test_the_account_that_is_gone_looks_like_none(room: Room) -> None:
    async with here(room, room.bob):
        pass
    await gone(room)
    assert await look(room, room.ann, room.bob.id) == [(False, True)]
    banned = {"status": "BANNED"}
    await in_unit(
        room.server, lambda _unit: User.update(**banned).where(User.id == room.bob.id).execute()
    )
    assert await look(room, room.ann, room.bob.id) == [(False, False)]
    assert await in_unit(room.server, lambda _unit: Channel.select().count()) == 1
