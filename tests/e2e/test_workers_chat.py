"""Two servers behind Envoy, on PostgreSQL and Valkey: people in different processes talk to each other,
and lose nothing when one of the processes goes."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from tests.e2e.pair import (
    Pair,
    People,
    Reader,
    Stubs,
    calling,
    client_of,
    eventually,
    meet,
    reading,
    two_servers,
)

AT_ONCE_SECONDS = 1.0
"""By the bus; without it the news would take up to two seconds."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A group for all tests of this file; each leaves it with two servers that serve."""
    folder: Path = tmp_path_factory.mktemp("pair")
    with two_servers(folder) as started:
        yield started
        assert started.site.stop() == 0, started.site.output


@pytest.fixture
async def people(pair: Pair) -> People:
    """Somebody new for each test."""
    return await meet(pair.site)


class Seen:
    """What a raw stream has brought so far."""

    def __init__(self, call: Any) -> None:
        self.events: list[Any] = []
        self.heartbeats = 0
        self.end: Any = None
        self.code: grpc.StatusCode | None = None
        self._call = call
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for reply in self._call:
                self.events += reply.events
                self.heartbeats += reply.HasField("heartbeat")
                if reply.HasField("end"):
                    self.end = reply.end
            self.code = grpc.StatusCode.OK
        except aio.AioRpcError as error:
            self.code = error.code()

    def has(self, kind: str, **values: object) -> Callable[[], bool]:
        """A condition: there is an event of this kind, with these values."""
        return lambda: any(
            event.HasField(kind)
            and all(getattr(getattr(event, kind), name) == value for name, value in values.items())
            for event in self.events
        )


@asynccontextmanager
async def across(pair: Pair, people: People) -> AsyncIterator[tuple[Stubs, Stubs, Seen]]:
    """Ann at one server, Bob at the other, and his stream there, caught up."""
    one, other = pair.servers
    async with calling((one.address, people.ann), (other.address, people.bob)) as (anns, bobs):
        call = bobs.watch()
        seen = Seen(call)
        await eventually(lambda: seen.heartbeats)
        yield anns, bobs, seen
        call.cancel()
        await asyncio.gather(seen.task, return_exceptions=True)


# What happens in one is seen in the other.


async def test_a_message_reaches_a_stream_of_the_other_server(pair: Pair, people: People) -> None:
    async with across(pair, people) as (anns, _bobs, seen):
        slowest = 0.0
        for number in range(20):
            await anns.send(people.room, f"message {number}")
            arrived = seen.has("message", text=f"message {number}")
            slowest = max(slowest, await eventually(arrived))
        assert slowest < AT_ONCE_SECONDS
        texts = [event.message.text for event in seen.events if event.HasField("message")]
        assert texts == [f"message {number}" for number in range(20)]


async def test_typing_and_read_marks_reach_the_other_server(pair: Pair, people: People) -> None:
    ann, room = people.ann, people.room
    async with across(pair, people) as (anns, bobs, seen):
        await bobs.send(room, "read me")
        await eventually(seen.has("message", text="read me"))
        await anns.channels.SendTyping(
            channel_pb.SendTypingRequest(channel_id=room), metadata=ann.metadata
        )
        assert await eventually(seen.has("typing", user_id=ann.id)) < AT_ONCE_SECONDS
        await anns.channels.MarkRead(
            channel_pb.MarkReadRequest(channel_id=room, seq=1), metadata=ann.metadata
        )
        assert await eventually(seen.has("read", user_id=ann.id, seq=1)) < AT_ONCE_SECONDS


async def test_a_channel_opened_at_one_server_appears_at_the_other(
    pair: Pair, people: People
) -> None:
    ann, bob = await asyncio.to_thread(lambda: pair.site.person("ann")), people.bob
    async with across(pair, replace(people, ann=ann)) as (anns, _bobs, seen):
        opened = await anns.channels.GetDirectChannel(
            channel_pb.GetDirectChannelRequest(user_id=bob.id), metadata=ann.metadata
        )
        await anns.send(opened.channel.id, "hello")
        assert await eventually(seen.has("message", text="hello")) < AT_ONCE_SECONDS


async def test_a_session_ended_at_one_server_is_refused_by_the_other(
    pair: Pair, people: People
) -> None:
    ann, bob = people.ann, people.bob
    async with across(pair, people) as (anns, bobs, seen):
        request = auth_pb.GetMeRequest()
        await bobs.auth.GetMe(request, metadata=bob.metadata)  # So that it knows the token.
        at_one_server = Stubs(anns.channel, bob)
        await at_one_server.auth.LogOut(auth_pb.LogOutRequest(), metadata=bob.metadata)

        async def refused() -> bool:
            try:
                await bobs.auth.GetMe(request, metadata=bob.metadata)
            except aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.UNAUTHENTICATED
            return False

        assert await eventually(refused) < AT_ONCE_SECONDS
        assert await eventually(lambda: seen.end is not None) < 5
        assert (await anns.auth.GetMe(request, metadata=ann.metadata)).user.id == ann.id


# When one of them goes.


async def spread(pair: Pair, readers: Sequence[Reader] = ()) -> None:
    """Waits until both servers have streams. Envoy chooses, and may still pass over a server that has just
    come back: so streams that all went to one are opened anew."""

    async def both() -> bool:
        counts = [await asyncio.to_thread(server.open_streams) for server in pair.servers]
        return all(counts)

    for _ in range(40):
        try:
            await eventually(both, 1.0)
        except AssertionError:
            for reader in readers:
                reader.stream.cut()
        else:
            return
    raise AssertionError("all streams go to one server")


async def send_through_it_all(client: Any, room: str, done: asyncio.Event, sent: list[str]) -> None:
    """One message after the other, each until it is acknowledged."""
    while not done.is_set():
        text = f"text {len(sent)}"
        sent.append(text)
        request = message_pb.SendMessageRequest(channel_id=room, client_id=text, text=text)
        while True:
            try:
                await client.messages.SendMessage(request)
                break
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.02)


async def nothing_is_lost(
    pair: Pair, people: People, incident: Callable[[], None], streams: int = 6
) -> None:
    """Clients send and read through Envoy while something happens; every reader has every message
    once, in order."""
    async with (
        client_of(pair.site, people.ann) as anns,
        client_of(pair.site, people.bob) as bobs,
        reading(bobs, streams) as readers,
    ):
        await spread(pair, readers)
        opened = sum(reader.stream.connections for reader in readers)
        done, sent = asyncio.Event(), list[str]()
        sender = asyncio.create_task(send_through_it_all(anns, people.room, done, sent))
        await eventually(lambda: len(sent) > 10)
        await asyncio.to_thread(incident)
        before = len(sent)
        await eventually(lambda: len(sent) > before + 10)
        done.set()
        await asyncio.wait_for(sender, 30)
        for reader in readers:
            await reader.has(len(sent))
            assert reader.texts == sent
        assert sum(reader.stream.connections for reader in readers) > opened


async def test_nothing_is_lost_when_a_server_is_killed(pair: Pair, people: People) -> None:
    await nothing_is_lost(pair, people, lambda: pair.end(pair.servers[0], signal.SIGKILL))


async def test_nothing_is_lost_when_envoy_starts_again(pair: Pair, people: People) -> None:
    def incident() -> None:
        with pair.restarted("envoy"):
            pair.site.child("envoy").kill()

    await nothing_is_lost(pair, people, incident)


async def test_a_server_that_drains_fails_no_call_and_ends_every_stream(
    pair: Pair, people: People
) -> None:
    """Through Envoy, by a client that repeats nothing: no call may notice that a server goes."""
    address, room = pair.site.address, people.room
    done, outcomes = asyncio.Event(), Counter[str]()

    async def load(stubs: Stubs, number: int) -> None:
        count = 0
        while not done.is_set():
            count += 1
            try:
                await stubs.auth.GetMe(auth_pb.GetMeRequest(), metadata=stubs.metadata, timeout=20)
                await stubs.send(room, f"load {number} {count}")
                outcomes["ok"] += 2
            except aio.AioRpcError as error:
                outcomes[f"{error.code().name} {error.details()}"] += 1
            await asyncio.sleep(0.02)

    async with calling(*[(address, people.ann)] * 4, *[(address, people.bob)] * 4) as stubs:
        streams = [Seen(each.watch()) for each in stubs for _ in range(3)]
        await eventually(lambda: all(stream.heartbeats for stream in streams))
        await spread(pair)
        tasks = [asyncio.create_task(load(each, number)) for number, each in enumerate(stubs)]
        for server in pair.servers:
            await eventually(lambda: outcomes["ok"] > 50)
            outcomes["ok"] -= 50
            await asyncio.to_thread(pair.end, server, signal.SIGTERM)
        done.set()
        await asyncio.gather(*tasks)
        assert outcomes.keys() == {"ok"}, outcomes
        await eventually(lambda: all(stream.code for stream in streams))
        assert {stream.code for stream in streams} == {grpc.StatusCode.OK}
        assert all(stream.end and stream.end.resume_token for stream in streams)
