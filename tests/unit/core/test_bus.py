"""One contract for every bus, and what the one over Valkey does when Valkey dies."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest

from server.core import bus_redis
from server.core.bus import Bus, MemoryBus, open_bus
from server.core.bus_redis import RedisBus
from tests.support.valkey import ValkeyServer, valkey

__all__ = ["valkey"]


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Waits for other threads and processes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "valkey"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    url = "memory://"
    if request.param == "valkey":
        url = request.getfixturevalue("valkey").url
    opened = open_bus(url, asyncio.get_running_loop())
    await opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def pair(valkey: ValkeyServer) -> AsyncIterator[tuple[RedisBus, RedisBus]]:
    """The buses of two processes."""
    loop = asyncio.get_running_loop()
    buses = RedisBus(valkey.url, loop), RedisBus(valkey.url, loop)
    for each in buses:
        await each.start()
    yield buses
    for each in buses:
        await each.close()


async def test_a_message_of_the_loop_reaches_its_topic_and_no_other(bus: Bus) -> None:
    heard, others = list[bytes](), list[bytes]()
    bus.subscribe("a", heard.append)
    bus.subscribe("ab", others.append)
    bus.publish("a", b"\0\xff")
    bus.publish("nobody", b"")
    bus.publish("ab", b"end")
    await until(lambda: others)
    assert (heard, others) == ([b"\0\xff"], [b"end"])


async def test_threads_publish_and_each_keeps_its_order(bus: Bus) -> None:
    heard, where = list[bytes](), set[int]()

    def listen(payload: bytes) -> None:
        heard.append(payload)
        where.add(threading.get_ident())

    def speak(name: bytes) -> None:
        for number in range(200):
            bus.publish("a", b"%s %03d" % (name, number))

    bus.subscribe("a", listen)
    threads = [threading.Thread(target=speak, args=(name,)) for name in (b"x", b"y", b"z")]
    for thread in threads:
        thread.start()
    await until(lambda: len(heard) == 600)
    for name in (b"x", b"y", b"z"):
        own = [payload for payload in heard if payload.startswith(name)]
        assert own == sorted(own) and len(own) == 200
    assert where == {threading.get_ident()}, "listeners run on the loop's thread"


async def test_publishing_never_calls_a_listener_on_the_spot(bus: Bus) -> None:
    heard = list[bytes]()
    bus.subscribe("a", heard.append)
    bus.publish("a", b"1")
    assert heard == []
    await until(lambda: heard)


async def test_who_has_unsubscribed_hears_nothing_more(bus: Bus) -> None:
    heard, others = list[bytes](), list[bytes]()
    first = bus.subscribe("a", heard.append)
    bus.subscribe("a", heard.append)
    bus.subscribe("a", others.append)
    bus.publish("a", b"1")
    await until(lambda: others)
    assert heard == [b"1", b"1"]
    first()
    first()  # Twice is once, and the second subscription of the same listener stays.
    bus.publish("a", b"2")
    await until(lambda: len(others) == 2)
    assert heard == [b"1", b"1", b"2"]


async def test_a_topic_can_be_left_and_joined_again(bus: Bus) -> None:
    heard = list[bytes]()
    bus.subscribe("a", heard.append)()
    bus.subscribe("a", heard.append)
    bus.publish("a", b"1")
    await until(lambda: heard)
    assert heard == [b"1"]


async def test_a_listener_that_raises_stops_no_other_and_no_later_message(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    heard = list[bytes]()

    def fail(_payload: bytes) -> None:
        raise ValueError("broken")

    bus.subscribe("a", fail)
    bus.subscribe("a", heard.append)
    bus.publish("a", b"1")
    bus.publish("a", b"2")
    await until(lambda: len(heard) == 2)
    assert caplog.text.count("a listener of the bus topic a failed") == 2


async def test_a_listener_may_publish_and_subscribe(bus: Bus) -> None:
    heard = list[bytes]()

    def answer(payload: bytes) -> None:
        bus.subscribe("b", heard.append)
        bus.publish("b", payload + b"!")

    bus.subscribe("a", answer)
    bus.publish("a", b"1")
    await until(lambda: heard)
    assert heard == [b"1!"]


async def test_closing_twice_and_publishing_afterwards_hurt_nobody(bus: Bus) -> None:
    heard = list[bytes]()
    bus.subscribe("a", heard.append)
    await bus.close()
    bus.publish("a", b"1")
    await bus.close()
    assert heard == []


async def test_only_the_bus_over_valkey_is_shared(valkey: ValkeyServer) -> None:
    loop = asyncio.get_running_loop()
    assert not open_bus("memory://", loop).is_shared
    assert open_bus(valkey.url, loop).is_shared


async def test_the_memory_bus_takes_messages_after_the_loop_has_ended() -> None:
    loop = asyncio.new_event_loop()
    bus = MemoryBus(loop)
    loop.close()
    bus.publish("a", b"1")
    bus.publish("a", b"2")


async def test_processes_hear_each_other(pair: tuple[RedisBus, RedisBus]) -> None:
    here, there = pair
    heard = list[bytes]()
    there.subscribe("a", heard.append)
    here.publish("a", b"1")
    await until(lambda: heard)
    assert heard == [b"1"]


async def test_after_a_crash_of_valkey_listeners_are_told_and_messages_flow_again(
    pair: tuple[RedisBus, RedisBus], valkey: ValkeyServer
) -> None:
    here, there = pair
    heard, gaps = list[bytes](), list[str]()

    def fail() -> None:
        raise ValueError("broken")

    there.subscribe("a", heard.append)
    there.on_gap(fail)
    there.on_gap(lambda: gaps.append("there"))
    here.on_gap(lambda: gaps.append("here"))
    assert gaps == [], "the first connection is no gap"
    valkey.kill()
    await until(lambda: not here.connected.is_set() and not there.connected.is_set())
    assert gaps == [], "the gap is told when it has ended"
    valkey.start()
    await until(lambda: {"here", "there"} <= set(gaps))
    assert there.connected.is_set()

    def speak() -> bool:
        here.publish("a", b"1")
        return bool(heard)

    await until(speak)


async def test_a_message_that_is_lost_on_the_way_is_a_gap_for_everybody(
    pair: tuple[RedisBus, RedisBus], valkey: ValkeyServer
) -> None:
    here, there = pair
    gaps = list[str]()
    valkey.kill()
    await until(lambda: not there.connected.is_set())
    valkey.start()
    await until(lambda: there.connected.is_set() and here.connected.is_set())
    there.on_gap(lambda: gaps.append("there"))
    heard = list[bytes]()
    there.subscribe("a", heard.append)
    here.publish("a", b"over a connection that is dead, or over a new one")
    await until(lambda: gaps or heard)


async def test_messages_that_find_no_room_are_dropped_and_everybody_is_told(
    pair: tuple[RedisBus, RedisBus], valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_redis, "MOST_WAITING", 3)
    heard, gaps = list[bytes](), list[int]()
    pair[1].subscribe("a", heard.append)
    pair[1].on_gap(lambda: gaps.append(len(heard)))
    late = RedisBus(valkey.url, asyncio.get_running_loop())
    for number in range(10):
        late.publish("a", b"%d" % number)
    await asyncio.sleep(0)
    await late.start()
    try:
        await until(lambda: len(heard) == 3)
    finally:
        await late.close()
    assert heard == [b"0", b"1", b"2"]
    assert gaps == [0], "the gap is told before anything that came after it"


async def test_a_server_that_starts_without_valkey_finds_it_later(valkey: ValkeyServer) -> None:
    url = valkey.url
    valkey.kill()
    bus = RedisBus(url, asyncio.get_running_loop())
    await bus.start()
    heard, gaps = list[bytes](), list[int]()
    bus.subscribe("a", heard.append)
    bus.on_gap(lambda: gaps.append(1))
    assert not bus.connected.is_set()
    try:
        valkey.start()
        await until(lambda: gaps)
        bus.publish("a", b"1")
        await until(lambda: heard)
    finally:
        await bus.close()


async def test_a_valkey_that_falls_silent_is_left(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_redis, "_SILENCE", 0.1)
    bus = RedisBus(valkey.url, asyncio.get_running_loop())
    await bus.start()
    heard = list[bytes]()
    bus.subscribe("a", heard.append)
    try:
        assert bus.connected.is_set()
        valkey.pause()
        await until(lambda: not bus.connected.is_set())
        valkey.resume()
        await until(lambda: bus.connected.is_set())
        bus.publish("a", b"1")
        await until(lambda: heard)
    finally:
        await bus.close()
