"""Whatever others do, and whenever a client looks: in the end it has what the lists say."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest
from grpc import aio

from greenroom.chat.v1 import channel_pb2
from tests.rpc.chat import talk
from tests.rpc.chat.groups import Group, make_group
from tests.rpc.chat.offline import Offline
from tests.rpc.chat.scenes import Room, direct
from tests.support.serve import Greenroom, Person

STEPS = 50
EXPECTED = {"NOT_FOUND", "FAILED_PRECONDITION", "PERMISSION_DENIED", "INVALID_ARGUMENT"}
"""What somebody meets whose channel or message was taken away in between."""


class Others:
    """Three people who talk with Eve and each other in two groups and two direct channels, by chance."""

    def __init__(self, server: Greenroom, people: list[Person], eve: Person, seed: int) -> None:
        self.server = server
        self.people = people
        self.eve = eve
        self.chance = random.Random(seed)
        self.groups: list[Group] = []
        self.rooms: list[Room] = []
        self.sent: list[tuple[Room, Person, channel_pb2.Message]] = []

    async def meet(self) -> None:
        """Makes the channels. Eve is in the first group from the beginning."""
        ann, bob, cid = self.people
        for others in ((bob, cid, self.eve), (bob, cid)):
            channel = await make_group(self.server, ann, *others)
            self.groups.append(Group(self.server, ann, bob, cid, self.eve, channel))
            self.rooms.append(Room(self.server, ann, bob, channel))
        for person in (ann, bob):
            channel = await direct(self.server, person, self.eve.id)
            self.rooms.append(Room(self.server, person, self.eve, channel))

    async def act(self) -> None:
        """Does something; that it cannot be done any more is no failure."""
        acts: list[Callable[[], Awaitable[object]]] = [self.send] * 6
        acts += [self.edit, self.delete, self.react, self.unreact] * 2
        acts += [self.read, self.join, self.part, self.come_or_go, self.retitle]
        try:
            await self.chance.choice(acts)()
        except aio.AioRpcError as error:
            if error.code().name not in EXPECTED:
                raise

    def _writer(self, room: Room) -> Person:
        if room in self.rooms[:2]:
            return self.chance.choice(self.people)
        return self.chance.choice((room.ann, self.eve))

    def _message(self) -> tuple[Room, Person, str]:
        if not self.sent:
            return self.rooms[0], self.people[0], self.rooms[0].channel.id
        room, by, message = self.chance.choice(self.sent[-12:])
        return room, by, message.id

    async def send(self) -> None:
        room = self.chance.choice(self.rooms)
        by = self._writer(room)
        message = await room.send(str(self.chance.random()), by=by)
        self.sent.append((room, by, message))

    async def edit(self) -> None:
        room, by, message_id = self._message()
        await talk.edit(room, message_id, str(self.chance.random()), by=by)

    async def delete(self) -> None:
        room, by, message_id = self._message()
        await talk.delete(room, message_id, by=by)

    async def react(self) -> None:
        room, by, message_id = self._message()
        await talk.react(room, message_id, self.chance.choice("👍🎉"), by=by)

    async def unreact(self) -> None:
        room, by, message_id = self._message()
        await talk.unreact(room, message_id, self.chance.choice("👍🎉"), by=by)

    async def read(self) -> None:
        room = self.chance.choice(self.rooms)
        await room.mark_read(
            self.chance.randint(1, 8), self.chance.choice((*self.people, self.eve))
        )

    async def join(self) -> None:
        await self.chance.choice(self.groups).add(self.eve)

    async def part(self) -> None:
        group = self.chance.choice(self.groups)
        await self.chance.choice((group.remove, group.leave))(self.eve)

    async def come_or_go(self) -> None:
        group = self.chance.choice(self.groups)
        await self.chance.choice((group.add, group.remove))(group.cid)

    async def retitle(self) -> None:
        await self.chance.choice(self.groups).update(title=str(self.chance.random()))


@pytest.fixture
async def others(server: Greenroom) -> Callable[[int], Awaitable[Others]]:
    people = [await server.person(name) for name in ("Ann", "Bob", "Cid", "Eve")]

    async def make(seed: int) -> Others:
        made = Others(server, people[:3], people[3], seed)
        await made.meet()
        return made

    return make


async def test_a_client_that_syncs_now_and_then_has_what_the_lists_say(
    others: Callable[[int], Awaitable[Others]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So little at once that most syncs take several replies, and others act between those.
    monkeypatch.setattr("server.chat.usecases.sync.REPLY_MESSAGES", 7)
    monkeypatch.setattr("server.chat.usecases.sync.REPLY_CHANGES", 5)
    monkeypatch.setattr("server.chat.usecases.sync.AT_ONCE", 3)
    monkeypatch.setattr("server.chat.usecases.sync.REPLY_CHANNELS", 3)
    for seed in (1, 2):
        scene = await others(seed)
        device = Offline(scene.server, scene.eve)
        for _ in range(STEPS):
            await asyncio.gather(*(scene.act() for _ in range(scene.chance.randint(1, 4))))
            if scene.chance.random() < 0.3:
                await asyncio.gather(device.page(), scene.act(), scene.act())
        await device.sync()
        await device.compare()
        assert scene.sent
        for group in scene.groups:
            if group.id in device.kept:
                await group.remove(scene.eve)
        await device.sync()
        await device.compare()


async def test_streams_and_syncs_take_turns(others: Callable[[int], Awaitable[Others]]) -> None:
    scene = await others(3)
    device = Offline(scene.server, scene.eve)
    await device.sync()
    for _ in range(STEPS):
        await asyncio.gather(*(scene.act() for _ in range(scene.chance.randint(1, 4))))
        chance = scene.chance.random()
        if chance < 0.2:
            await device.sync()
        if chance < 0.1:
            await scene.act()
            await device.watch()
    await device.sync()
    await device.compare()
