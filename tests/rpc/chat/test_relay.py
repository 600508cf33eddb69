"""Two processes on one database: their hubs, and the bus between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from greenroom.chat.v1 import event_service_pb2
from server.chat.convert.streams import FRAMES, STREAM
from server.chat.events import MemberJoined, ReadMarked, TypingStarted
from server.chat.hub import Hub
from server.chat.relay import Relay
from server.chat.subscriber import Place, Subscriber
from tests.rpc.chat.store import Store, sent, store_on


class SharedBus:
    """Stands for Redis: every process hears everything, unless it is broken."""

    is_shared = True

    def __init__(self) -> None:
        self.listeners: list[Callable[[bytes], object]] = []
        self.gaps: list[Callable[[], object]] = []
        self.broken = False
        self.published: list[bytes] = []

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, topic: str, payload: bytes) -> None:
        self.published.append(payload)
        if not self.broken:
            for listener in self.listeners:
                listener(payload)

    def subscribe(self, topic: str, listener: Callable[[bytes], object]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def on_gap(self, listener: Callable[[], object]) -> None:
        self.gaps.append(listener)


class Process:
    """The chat of one process, as far as others hear of it."""

    def __init__(self, store: Store, bus: SharedBus) -> None:
        self.store = store
        self.hub = Hub(store.history)
        self.relay = Relay(self.hub, bus, FRAMES)
        self.relay.start()

    def send(self, channel: str, count: int = 1) -> None:
        """Stores a group and tells the hub and the bus, as the lane does."""
        outcomes = self.store.write(*(self.store.send(channel) for _ in range(count)))
        self.relay.sent([sent(outcome) for outcome in outcomes])

    def watch(self, user_id: str, channel: str) -> Subscriber:
        """A subscriber of an empty channel."""
        subscriber = self.hub.subscribe(user_id)
        self.hub.attach(subscriber, channel, Place(1, 0, 1))
        return subscriber

    async def stop(self) -> None:
        await self.relay.stop()
        await self.hub.close()


class Reader:
    """Takes what a subscriber gets."""

    def __init__(self, subscriber: Subscriber) -> None:
        self.subscriber = subscriber
        self.events: list[tuple[str, object]] = []

    async def until(self, count: int) -> list[tuple[str, object]]:
        """Kind and number (or user) of the events, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.events) < count:
                await self.subscriber.ready()
                assert not self.subscriber.behind
                taken = self.subscriber.take(STREAM.gap)
                reply = event_service_pb2.WatchEventsResponse.FromString(taken)
                for event in reply.events:
                    kind = event.WhichOneof("payload") or ""
                    value = event.seq or getattr(event, kind).user_id
                    self.events.append((kind, value))
        return self.events


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    with store_on(database_url, tmp_path) as opened:
        await opened.people()
        yield opened


@pytest.fixture
async def bus() -> SharedBus:
    return SharedBus()


@pytest.fixture
async def pair(store: Store, bus: SharedBus) -> AsyncIterator[tuple[Process, Process]]:
    one, two = Process(store, bus), Process(store, bus)
    yield one, two
    await one.stop()
    await two.stop()


Pair = tuple[Process, Process]


async def test_messages_of_each_process_reach_the_subscribers_of_both(
    store: Store, bus: SharedBus, pair: Pair
) -> None:
    one, two = pair
    channel = await store.channel(store.bob)
    readers = [Reader(one.watch(store.ann, channel)), Reader(two.watch(store.bob, channel))]
    for turn in range(20):
        pair[turn % 2].send(channel, 3)
        await asyncio.sleep(0)
    for reader in readers:
        assert await reader.until(60) == [("message", seq) for seq in range(1, 61)]
    assert max(map(len, bus.published)) < 200, "the bus carries heads, no messages"


async def test_typing_and_read_marks_cross_processes(store: Store, pair: Pair) -> None:
    one, two = pair
    channel = await store.channel(store.bob)
    reader = Reader(two.watch(store.bob, channel))
    one.relay.typing(TypingStarted(channel, 1, store.ann))
    await reader.until(1)
    one.relay.from_unit(ReadMarked(channel, 1, store.ann, 7))
    assert await reader.until(2) == [("typing", store.ann), ("read", store.ann)]


async def test_memberships_cross_processes(store: Store, pair: Pair) -> None:
    one, two = pair
    follower = two.hub.subscribe(store.bob)
    two.hub.follow(follower)
    one.relay.from_unit(MemberJoined("c", (store.ann, store.bob)))
    await asyncio.wait_for(follower.ready(), 5)
    assert follower.joins == ["c"]


async def test_a_broken_bus_delays_and_loses_nothing(
    store: Store, bus: SharedBus, pair: Pair
) -> None:
    one, two = pair
    channel = await store.channel(store.bob)
    reader = Reader(two.watch(store.bob, channel))
    bus.broken = True
    one.send(channel, 5)
    assert await reader.until(5) == [("message", seq) for seq in range(1, 6)]


async def test_a_bus_that_is_back_makes_all_compare_at_once(
    store: Store, bus: SharedBus, pair: Pair
) -> None:
    one, two = pair
    channel = await store.channel(store.bob)
    reader = Reader(two.watch(store.bob, channel))
    bus.broken = True
    one.send(channel)
    began = asyncio.get_running_loop().time()
    for listener in bus.gaps:
        listener()
    await reader.until(1)
    assert asyncio.get_running_loop().time() - began < 1
