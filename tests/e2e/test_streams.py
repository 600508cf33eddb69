"""Streams through Envoy when something goes wrong: readers that stall, servers that go."""

import asyncio
import json
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from grpc import aio

from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from tests.support.site import Person, Site, running, wait_until

STALLED = 50
MESSAGES = 150
TEXT = "x" * 4000
"""Together more than all the windows and buffers on the way of one reader hold."""


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


def watched(site: Site, person: Person) -> Iterator[dict[str, Any]]:
    """The replies of a stream over REST, to its end."""
    with (
        httpx.Client(base_url=site.url, timeout=30) as client,
        client.stream("GET", "/v1/chat:watch", headers=person.headers) as reply,
    ):
        assert reply.status_code == 200
        for line in reply.iter_lines():
            yield json.loads(line)


@contextmanager
def stalled_by_rest(site: Site, person: Person) -> Iterator[None]:
    """Readers that open a stream, each on a connection of its own, and never read."""
    host, _, port = site.address.partition(":")
    request = (
        "GET /v1/chat:watch HTTP/1.1\r\nhost: x\r\n"
        f"authorization: {person.headers['authorization']}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(STALLED):
            reader = stack.enter_context(socket.socket())
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((host, int(port)))
            reader.sendall(request.encode())
        yield


@asynccontextmanager
async def stalled_by_grpc(site: Site, person: Person) -> AsyncIterator[None]:
    """Readers that share a connection and never read."""
    options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65535)]
    async with aio.insecure_channel(site.address, options=options) as channel:
        stub = event_grpc.EventServiceStub(channel)
        calls = [
            stub.WatchEvents(event_pb.WatchEventsRequest(), metadata=person.metadata)
            for _ in range(STALLED)
        ]
        # The first reply is taken, so that the stream is known to be open.
        await asyncio.gather(*(call.read() for call in calls))
        yield
        for call in calls:
            call.cancel()


async def healthy_reader_gets_everything(site: Site, ann: Person, bob: Person, room: str) -> None:
    """Sends while one reader reads and the others do not."""
    numbers: list[int] = []
    caught_up = asyncio.Event()

    async def read() -> None:
        async with aio.insecure_channel(site.address) as channel:
            stub = event_grpc.EventServiceStub(channel)
            call = stub.WatchEvents(event_pb.WatchEventsRequest(), metadata=bob.metadata)
            async for reply in call:
                numbers.extend(event.seq for event in reply.events if event.seq)
                if reply.HasField("heartbeat"):
                    caught_up.set()
                if len(numbers) == MESSAGES:
                    return

    reader = asyncio.create_task(read())
    async with asyncio.timeout(20):
        await caught_up.wait()
    await asyncio.to_thread(send, site, ann, room, [TEXT] * MESSAGES)
    async with asyncio.timeout(10):
        await reader
    assert numbers == list(range(1, MESSAGES + 1))


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Site]:
    """A server that gives a stalled reader far more time than the test takes."""
    with running(tmp_path, stream_write_seconds=120, drain_seconds=1) as site:
        yield site


@pytest.mark.parametrize("kind", ["rest", "grpc"])
async def test_stalled_readers_do_not_starve_one_that_reads(patient: Site, kind: str) -> None:
    site = patient
    ann, bob = await asyncio.to_thread(lambda: (site.person("ann"), site.person("bob")))
    room = await asyncio.to_thread(site.channel, ann, bob)
    if kind == "rest":
        with stalled_by_rest(site, bob):
            await asyncio.to_thread(wait_until, lambda: open_streams(site) == STALLED, "streams")
            await healthy_reader_gets_everything(site, ann, bob, room)
            assert open_streams(site) >= STALLED
    else:
        async with stalled_by_grpc(site, bob):
            await healthy_reader_gets_everything(site, ann, bob, room)
            assert open_streams(site) >= STALLED


def test_a_stalled_reader_is_cut(tmp_path: Path) -> None:
    with running(tmp_path, stream_write_seconds=1, drain_seconds=1) as site:
        ann, bob = site.person("ann"), site.person("bob")
        room = site.channel(ann, bob)
        with stalled_by_rest(site, bob):
            wait_until(lambda: open_streams(site) == STALLED, "the streams to open")
            send(site, ann, room, [TEXT] * MESSAGES)
            wait_until(lambda: open_streams(site) == 0, "the stalled readers to be cut")


def test_a_stream_gets_its_end_when_the_server_goes(tmp_path: Path) -> None:
    with running(tmp_path, drain_seconds=10) as site:
        ann, bob = site.person("ann"), site.person("bob")
        room = site.channel(ann, bob)
        replies: list[dict[str, Any]] = []
        reader = threading.Thread(target=lambda: replies.extend(watched(site, bob)))
        reader.start()
        wait_until(lambda: open_streams(site) == 1, "the stream to open")
        send(site, ann, room, ["one", "two"])
        began = time.monotonic()
        assert site.stop() == 0, site.output
        assert time.monotonic() - began < 10
        reader.join(5)
        end = replies[-1]["end"]
        assert end["reason"] == "END_REASON_DRAINING"
        assert end["resumeToken"]
        assert float(end["retryDelay"].removesuffix("s")) >= 0
        texts = [
            event["message"]["text"]
            for reply in replies
            for event in reply.get("events", [])
            if "message" in event
        ]
        assert texts == ["one", "two"]
