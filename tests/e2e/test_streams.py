"""Streams through Envoy when something goes wrong: readers that stall, servers that go."""

import asyncio
import json
import re
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from grpc import aio

from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from tests.e2e.second_envoy import edge
from tests.support.site import Person, Site, running, wait_until

STALLED = 50
MESSAGES = 150
TEXT = "x" * 4000
"""All texts together are more than the windows on the way of one stream hold, many times over."""

LONG_TEXT = "\u0001" * 4000
"""JSON needs six bytes for each character: a few hundred fill the buffers of a socket."""


def open_streams(site: Site) -> int:
    """How many the server counts itself."""
    url = f"http://127.0.0.1:{site.environ['METRICS_PORT']}/metrics"
    with urllib.request.urlopen(url, timeout=5) as page:
        for line in page.read().decode().splitlines():
            if line.startswith("greenroom_rpc_open_streams "):
                return int(float(line.split()[1]))
    raise AssertionError("no such figure")


def send(site: Site, person: Person, channel: str, texts: list[str]) -> None:
    with httpx.Client(base_url=site.url, timeout=20, headers=person.headers) as client:
        for text in texts:
            body = {"clientId": str(uuid.uuid4()), "text": text}
            client.post(f"/v1/chatChannels/{channel}/messages", json=body).raise_for_status()


def watched(site: Site, person: Person, **wish: str) -> Iterator[dict[str, Any]]:
    """The replies of a stream over REST, to its end."""
    with (
        httpx.Client(base_url=site.url, timeout=30) as client,
        client.stream("GET", "/v1/chat:watch", params=wish, headers=person.headers) as reply,
    ):
        assert reply.status_code == 200
        for line in reply.iter_lines():
            yield json.loads(line)


@contextmanager
def stalled_by_rest(site: Site, person: Person, count: int) -> Iterator[None]:
    """Readers that open a stream, each on a connection of its own, and never read."""
    host, _, port = site.address.partition(":")
    request = (
        "GET /v1/chat:watch HTTP/1.1\r\nhost: x\r\n"
        f"authorization: {person.headers['authorization']}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(count):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((host, int(port)))
            reader.sendall(request.encode())
        yield


@asynccontextmanager
async def stalled_by_grpc(address: str, person: Person, count: int) -> AsyncIterator[None]:
    """Readers that share a connection and never read more than the first reply."""
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65535)]
    async with aio.insecure_channel(address, options=options) as channel:
        stub = event_grpc.EventServiceStub(channel)
        calls = [
            stub.WatchEvents(event_pb.WatchEventsRequest(), metadata=person.metadata)
            for _ in range(count)
        ]
        await asyncio.gather(*(call.read() for call in calls))
        yield
        for call in calls:
            call.cancel()


async def read_beside_stalled(site: Site, address: str, seconds: float) -> int:
    """How many of the messages a reader that reads has got so long after the last one was sent,
    while the others do not read. All of them go through ``address``."""
    ann, bob = await asyncio.to_thread(lambda: (site.person("ann"), site.person("bob")))
    room = await asyncio.to_thread(site.channel, ann, bob)
    numbers: list[int] = []
    caught_up = asyncio.Event()

    async def read() -> None:
        async with aio.insecure_channel(address) as channel:
            stub = event_grpc.EventServiceStub(channel)
            call = stub.WatchEvents(event_pb.WatchEventsRequest(), metadata=bob.metadata)
            async for reply in call:
                numbers.extend(event.seq for event in reply.events if event.seq)
                if reply.HasField("heartbeat"):
                    caught_up.set()
                if len(numbers) == MESSAGES:
                    return

    async with stalled_by_grpc(address, bob, STALLED):
        reader = asyncio.create_task(read())
        async with asyncio.timeout(20):
            await caught_up.wait()
        await asyncio.to_thread(send, site, ann, room, [TEXT] * MESSAGES)
        await asyncio.wait([reader], timeout=seconds)
        assert open_streams(site) >= STALLED
        reader.cancel()
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


async def test_stalled_readers_do_not_starve_one_that_reads(tmp_path: Path) -> None:
    """With one worker, so that all share a connection to the server. That they would starve it
    with a smaller window shows that the test can fail."""
    with running(tmp_path, stream_write_seconds=120, drain_seconds=1) as site:
        settings = {"GRPC_PORT": site.environ["GRPC_PORT"]}
        with edge(tmp_path, settings) as address:
            assert await read_beside_stalled(site, address, 15) == MESSAGES
        with edge(tmp_path, settings, with_connection_window(1 << 20)) as address:
            assert await read_beside_stalled(site, address, 2) < MESSAGES


def with_connection_window(size: int) -> Callable[[str], str]:
    """Changes a configuration so that its connections to the server have another window."""
    return lambda text: re.sub(r"(initial_connection_window_size): \d+", rf"\1: {size}", text)


async def test_a_stalled_reader_is_cut(tmp_path: Path) -> None:
    with running(tmp_path, stream_write_seconds=1, drain_seconds=1) as site:
        ann, bob = await asyncio.to_thread(lambda: (site.person("ann"), site.person("bob")))
        room = await asyncio.to_thread(site.channel, ann, bob)
        with stalled_by_rest(site, bob, 3):
            async with stalled_by_grpc(site.address, bob, 3):
                await asyncio.to_thread(wait_until, lambda: open_streams(site) == 6, "6 streams")
                await asyncio.to_thread(send, site, ann, room, [LONG_TEXT] * 400)
                await asyncio.to_thread(wait_until, lambda: open_streams(site) == 0, "their end")


def test_a_stream_ends_with_a_token_and_goes_on_elsewhere(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds=10) as site:
        ann, bob = site.person("ann"), site.person("bob")
        room = site.channel(ann, bob)
        replies: list[dict[str, Any]] = []
        reader = threading.Thread(target=lambda: replies.extend(watched(site, bob)))
        reader.start()
        wait_until(lambda: "heartbeat" in str(replies), "the stream to catch up")
        send(site, ann, room, ["one", "two"])
        began = time.monotonic()
        assert site.stop() == 0, site.output
        assert time.monotonic() - began < 10
        reader.join(5)
        end = replies[-1]["end"]
        assert end["reason"] == "END_REASON_DRAINING"
        assert float(end["retryDelay"].removesuffix("s")) >= 0

        again = Site(site.environ, tmp_path)
        try:
            again.wait_until_up()
            send(again, ann, room, ["three"])
            for reply in watched(again, bob, resume_token=end["resumeToken"]):
                replies.append(reply)
                if texts(replies)[-1:] == ["three"]:
                    break
            assert texts(replies) == ["one", "two", "three"]
            assert again.stop() == 0
        finally:
            again.kill()


def texts(replies: list[dict[str, Any]]) -> list[str]:
    """Of all messages, in the order of their arrival."""
    events = [event for reply in replies for event in reply.get("events", [])]
    return [event["message"]["text"] for event in events if "message" in event]
