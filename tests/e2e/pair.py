"""Two servers behind one Envoy, told apart: which of them listens where, and which process it is."""

import asyncio
import re
import signal
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from greenroom.chat.v1 import channel_service_pb2_grpc as channel_grpc
from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from greenroom.chat.v1 import message_service_pb2 as message_pb
from greenroom.chat.v1 import message_service_pb2_grpc as message_grpc
from tests.support.site import PASSWORD, Person, Site, running, wait_until

SETTINGS = {"grpc_port": 0, "metrics_port": 0, "drain_seconds": 10, "stream_heartbeat_seconds": 1}


@dataclass(frozen=True)
class Server:
    """One of the two."""

    name: str
    address: str
    metrics: str

    def process(self, site: Site) -> psutil.Process:
        """The process that serves at this address now."""

        def found() -> psutil.Process | None:
            for process in site.children("serve"):
                if process.environ()["GRPC_PORT"] == self.address.rpartition(":")[2]:
                    return process
            return None

        process: psutil.Process = wait_until(found, f"the process of {self.name}")
        return process

    def open_streams(self) -> int:
        """How many it counts itself."""
        with urllib.request.urlopen(self.metrics, timeout=5) as page:
            found = re.search(rb"^greenroom_rpc_open_streams (\S+)", page.read(), re.MULTILINE)
        assert found
        return int(float(found[1]))


@dataclass(frozen=True)
class Pair:
    """A running group of two servers."""

    site: Site
    servers: tuple[Server, Server]

    def end(self, server: Server, number: signal.Signals) -> None:
        """Sends a signal to the server's process and waits until another one serves in its place."""
        with self.restarted(server.name):
            server.process(self.site).send_signal(number)

    @contextmanager
    def restarted(self, name: str) -> Iterator[None]:
        """Waits at the end of the block until a process of this name serves that did not before."""
        line = f"{name} serves again"
        before = self.site.output.count(line)
        yield
        wait_until(lambda: self.site.output.count(line) > before, line, 60)


@contextmanager
def two_servers(folder: Path, **settings: object) -> Iterator[Pair]:
    """A group that is up; nothing of it is left at the end."""
    with running(folder, workers=2, **{**SETTINGS, **settings}) as site:
        wait_until(lambda: "Ctrl-C" in site.output, "the whole banner")
        addresses = re.findall(r"\S+:\d+", of_banner(site, "gRPC ").partition("Envoy")[2])
        metrics = re.findall(r"http://[^\s,]+", of_banner(site, "metrics"))
        one, other = (
            Server(f"server-{number}", address.rstrip(","), page)
            for number, (address, page) in enumerate(zip(addresses, metrics, strict=True), 1)
        )
        yield Pair(site, (one, other))


def of_banner(site: Site, word: str) -> str:
    """The line of the banner that begins with a word."""
    (line,) = [line for line in site.lines if line.strip().startswith(word)]
    return line


@dataclass(frozen=True)
class People:
    """Two people and their direct channel."""

    ann: Person
    bob: Person
    room: str


async def meet(site: Site) -> People:
    """People that nobody has seen before."""

    def met() -> People:
        ann, bob = site.person("ann"), site.person("bob")
        return People(ann, bob, site.channel(ann, bob))

    return await asyncio.to_thread(met)


class Stubs:
    """Somebody's calls, without retries, at one address: a server's own, or Envoy's."""

    def __init__(self, channel: aio.Channel, person: Person) -> None:
        self.channel = channel
        self.metadata = person.metadata
        self.auth = auth_grpc.AuthServiceStub(channel)
        self.channels = channel_grpc.ChannelServiceStub(channel)
        self.messages = message_grpc.MessageServiceStub(channel)
        self.events = event_grpc.EventServiceStub(channel)

    async def send(self, channel_id: str, text: str) -> int:
        """Sends a message; its number."""
        request = message_pb.SendMessageRequest(channel_id=channel_id, client_id=text, text=text)
        reply = await self.messages.SendMessage(request, metadata=self.metadata, timeout=10)
        seq: int = reply.message.seq
        return seq

    def watch(self, **wish: Any) -> Any:
        """A stream."""
        return self.events.WatchEvents(event_pb.WatchEventsRequest(**wish), metadata=self.metadata)


@asynccontextmanager
async def calling(*callers: tuple[str, Person]) -> AsyncIterator[list[Stubs]]:
    """Stubs for each address and person, over connections of their own."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        yield [
            Stubs(await stack.enter_async_context(aio.insecure_channel(address, options)), person)
            for address, person in callers
        ]


@asynccontextmanager
async def client_of(site: Site, person: Person) -> AsyncIterator[greenroom_client.Client]:
    """Somebody's client as an application uses it, through Envoy."""
    async with greenroom_client.connect(site.address) as client:
        await client.log_in(email=person.email, password=PASSWORD)
        yield client


class Reader:
    """A client's stream, and the texts that it has told of."""

    def __init__(self, client: greenroom_client.Client) -> None:
        self.stream = client.watch()
        self.texts: list[str] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.stream:
            if event.HasField("message"):
                self.texts.append(event.message.text)
            assert not event.HasField("gap")

    async def has(self, count: int, seconds: float = 40.0) -> None:
        """Waits until so many messages have come."""
        await eventually(lambda: len(self.texts) >= count or self._task.done(), seconds)
        if self._task.done():
            self._task.result()

    async def close(self) -> None:
        """Ends it."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def reading(client: greenroom_client.Client, count: int = 1) -> AsyncIterator[list[Reader]]:
    """So many streams of one client that have caught up."""
    readers = [Reader(client) for _ in range(count)]
    try:
        async with asyncio.timeout(40):
            await asyncio.gather(*(reader.stream.live.wait() for reader in readers))
        yield readers
    finally:
        await asyncio.gather(*(reader.close() for reader in readers))


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], seconds: float = 40.0
) -> float:
    """Waits until something is so; after how many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return loop.time() - began
        assert loop.time() - began < seconds, f"not within {seconds:.0f} s"
        await asyncio.sleep(0.01)
