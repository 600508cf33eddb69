"""One contract for both buses, and for the counters beside them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from server.core.bus import Bus, open_bus
from server.core.clock import ManualClock
from server.core.limits import open_counters
from server.core.rates import Rate
from tests.support.valkey import valkey


async def until(condition: Callable[[], Any]) -> None:
    """Returns once the condition holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "valkey"])
async def bus(request: Any) -> AsyncIterator[Bus]:
    loop = asyncio.get_running_loop()
    if request.param == "memory":
        opened = open_bus("memory://", loop)
        await opened.start()
        yield opened
        await opened.close()
        return
    with valkey() as port:
        opened = open_bus(f"redis://127.0.0.1:{port}", loop)
        await opened.start()
        yield opened
        await opened.close()


async def settled(bus: Bus, heard: list[bytes]) -> None:
    """Returns once the topic is really listened to: subscribing takes a moment on a shared bus."""

    def probed() -> bool:
        bus.publish("t", b"?")
        return bool(heard)

    await until(probed)
    await asyncio.sleep(0.1)
    heard.clear()


async def test_messages_arrive_in_order_from_any_thread(bus: Bus) -> None:
    heard: list[bytes] = []

    def raises(_payload: bytes) -> None:
        raise ValueError("a listener that fails")

    bus.subscribe("t", raises)
    unsubscribe = bus.subscribe("t", heard.append)
    await settled(bus, heard)
    sent = [f"{number}".encode() for number in range(200)]

    def send() -> None:
        for payload in sent:
            bus.publish("t", payload)

    thread = threading.Thread(target=send)
    thread.start()
    await asyncio.to_thread(thread.join)
    await until(lambda: len(heard) >= 200)
    assert heard == sent
    unsubscribe()
    bus.publish("t", b"late")
    await asyncio.sleep(0.05)
    assert heard == sent


async def test_a_bus_that_was_away_tells_of_the_gap() -> None:
    loop = asyncio.get_running_loop()
    heard: list[bytes] = []
    gaps: list[bool] = []
    with valkey() as port:
        bus = open_bus(f"redis://127.0.0.1:{port}", loop)
        bus.on_gap(lambda: gaps.append(True))
        bus.subscribe("t", heard.append)
        await bus.start()
        await settled(bus, heard)
    assert gaps == []
    with valkey(port):
        await until(lambda: gaps)
        await settled(bus, heard)
        await bus.close()


async def test_shared_counters_and_their_fall_back() -> None:
    rate = Rate(1, 60.0, 2)
    clock = ManualClock()
    with valkey() as port:
        first = open_counters(f"redis://127.0.0.1:{port}", clock)
        second = open_counters(f"redis://127.0.0.1:{port}", clock)
        assert first.is_shared
        assert await first.take("k", rate) == 0
        assert await second.take("k", rate) == 0
        assert 50 < await first.take("k", rate) <= 60
    assert await first.take("k", rate) == 0
    await first.close()
    await second.close()
