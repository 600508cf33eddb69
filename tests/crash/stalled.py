"""Readers that stop reading beside one that reads: what they cost, when they are cut, what they get later.

``python -m tests.crash.stalled --readers 100``: one server, one room with long messages, and streams that
are opened, each on a connection of its own, and never read.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from greenroom.chat.v1 import message_service_pb2 as message_pb
from tests.crash.playing import Run
from tests.crash.target import Server, Target, target

STREAM_BYTES = 256 * 1024
CUT_SECONDS = 30.0
SLOWER = 2.0
LEAST_SECONDS = 0.025
"""Below this a delay is the server's own rhythm (it writes to a busy reader every 20 ms), not a cost."""
TEXT = "x" * 3900
REASON = "CHAT_ERROR_REASON_SLOW_CONSUMER"
_NARROW = [
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65535),
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass
class Stalls:
    """What was measured."""

    readers: int
    limit_seconds: float = CUT_SECONDS
    """When all have to be cut."""
    slower: float = SLOWER
    """How much slower the reader that reads may become."""
    before: list[float] = field(default_factory=list)
    """Seconds from send to receipt of the reader that reads, while nobody stalls."""
    beside: list[float] = field(default_factory=list)
    """The same, beside the stalled ones."""
    grown_bytes: int = 0
    """The most that the server's memory was above what it had before anybody sent."""
    cut_seconds: float = float("inf")
    """From the first message that could not be read to the last stalled stream's end."""
    reasons: list[str] = field(default_factory=list)
    """What each stalled stream was told when it read at last."""
    incomplete: list[str] = field(default_factory=list)
    """Readers who did not find every message once, in order, when they came back."""

    @property
    def stream_bytes(self) -> float:
        """What one stalled stream cost."""
        return self.grown_bytes / max(1, self.readers)

    def problems(self) -> list[str]:
        """Every promise that was broken."""
        found = list(self.incomplete)
        if self.stream_bytes > STREAM_BYTES:
            found.append(f"memory: {self.stream_bytes / 1024:.0f} KiB for each stalled stream")
        most = max(LEAST_SECONDS, self.slower * p99(self.before))
        if p99(self.beside) > most:
            found.append(
                f"starved: p99 {p99(self.beside) * 1e3:.1f} ms beside stalled readers, "
                f"{p99(self.before) * 1e3:.1f} ms before"
            )
        if self.cut_seconds > self.limit_seconds:
            found.append(f"uncut: stalled streams were open after {self.limit_seconds:.0f} s")
        if len(self.reasons) != self.readers or set(self.reasons) - {REASON}:
            found.append(f"untold: stalled readers were told {sorted(set(self.reasons))}")
        return found

    def summary(self) -> dict[str, float]:
        """The figures."""
        return {
            "stalled": self.readers,
            "messages": len(self.before) + len(self.beside),
            "kib_per_stalled_stream": round(self.stream_bytes / 1024, 1),
            "p99_before_ms": round(p99(self.before) * 1e3, 1),
            "p99_beside_ms": round(p99(self.beside) * 1e3, 1),
            "cut_seconds": round(self.cut_seconds, 1),
            "cut_with_reason": self.reasons.count(REASON),
            "complete_after_resume": self.readers - len(self.incomplete),
        }


def p99(values: list[float]) -> float:
    """The 99th of 100, from the least to the most."""
    ordered = sorted(values)
    return ordered[int(len(ordered) * 0.99)] if ordered else 0.0


class Stalling:
    """One run."""

    def __init__(self, made: Target, stalls: Stalls) -> None:
        self.stalls = stalls
        self._target = made
        self._server: Server = made.servers[0]
        self._sent: dict[int, float] = {}
        self._seen: list[int] = []
        self._delays: list[float] = []

    async def play(self, messages: int) -> None:
        """The whole run: ``messages`` before anybody stalls, and then until the stalled are cut."""
        await self._target.start()
        async with contextlib.AsyncExitStack() as stack:
            playing = Run(self._target, seed=1)
            ada, ben = await playing.join(stack, "ada"), await playing.join(stack, "ben")
            me = await ben.auth.GetMe(auth_pb.GetMeRequest())
            opened = await ada.channels.GetDirectChannel(
                channel_pb.GetDirectChannelRequest(user_id=me.user.id)
            )
            room = opened.channel.id
            stream = ben.watch(channel_ids=[room])
            reader = asyncio.create_task(self._read(stream))
            await asyncio.wait_for(stream.live.wait(), 30)
            await self._send(ada, room, messages)
            self.stalls.before, self._delays = self._delays, []
            calls = [await self._stalled(stack, ben, room) for _ in range(self.stalls.readers)]
            await self._until_cut(ada, room)
            self.stalls.beside = self._delays
            total = len(self._sent)
            for number, (call, last) in enumerate(calls):
                self.stalls.reasons.append(await self._finished(call, last))
                await self._resumed(ben, room, last, total, number)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, stream: greenroom_client.EventStream) -> None:
        async for event in stream:
            if event.HasField("message"):
                self._delays.append(time.monotonic() - float(event.message.text.split()[0]))
                self._seen.append(event.seq)

    async def _send(self, client: greenroom_client.Client, room: str, count: int) -> None:
        """Messages one after the other, each once the one before was read."""
        for _ in range(count):
            text = f"{time.monotonic()} {TEXT}"
            name = f"message-{len(self._sent)}"
            reply = await client.messages.SendMessage(
                message_pb.SendMessageRequest(channel_id=room, client_id=name, text=text)
            )
            self._sent[reply.message.seq] = time.monotonic()
            end = time.monotonic() + 10
            while len(self._seen) < len(self._sent) and time.monotonic() < end:
                await asyncio.sleep(0.001)

    async def _stalled(
        self, stack: contextlib.AsyncExitStack, client: greenroom_client.Client, room: str
    ) -> tuple[Any, list[int]]:
        """A stream that has caught up and reads no more, and the numbers that it has seen."""
        channel = await stack.enter_async_context(
            aio.insecure_channel(self._target.address, _NARROW)
        )
        call = event_grpc.EventServiceStub(channel).WatchEvents(
            event_pb.WatchEventsRequest(channel_ids=[room]),
            metadata=(("authorization", f"Bearer {await client.keeper.access_token()}"),),
        )
        reply = await call.read()
        while not reply.HasField("heartbeat"):
            reply = await call.read()
        return call, [len(self._sent)]

    async def _until_cut(self, client: greenroom_client.Client, room: str) -> None:
        process = psutil.Process(self._server.pid)
        before = process.memory_info().rss
        began = time.monotonic()
        while time.monotonic() < began + self.stalls.limit_seconds + 2:
            await self._send(client, room, 5)
            self.stalls.grown_bytes = max(
                self.stalls.grown_bytes, process.memory_info().rss - before
            )
            if await asyncio.to_thread(self._server.open_streams) <= 1:
                self.stalls.cut_seconds = time.monotonic() - began
                return

    async def _finished(self, call: Any, seen: list[int]) -> str:
        """Reads a stalled stream to its end; the reason that it was given."""
        try:
            async with asyncio.timeout(5):
                while (reply := await call.read()) is not aio.EOF:
                    seen += [event.seq for event in reply.events if event.HasField("message")]
        except aio.AioRpcError as error:
            return greenroom_client.reason_of(error) or error.code().name
        except TimeoutError:
            call.cancel()
            return "nothing"
        return "no error"

    async def _resumed(
        self, client: greenroom_client.Client, room: str, seen: list[int], total: int, number: int
    ) -> None:
        """Goes on from the last number that was seen, and holds all together to what was sent."""
        first, *rest = seen
        cursor = channel_pb2.ChannelCursor(channel_id=room, seq=seen[-1])
        stream = client.watch(cursors=[cursor])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                if seen[-1] < total:
                    async for event in stream:
                        if event.HasField("message"):
                            rest.append(event.seq)
                        if rest and rest[-1] >= total:
                            break
        if rest != list(range(first + 1, total + 1)):
            self.stalls.incomplete.append(
                f"incomplete: reader {number} has {len(rest)} of {total - first} messages"
            )


async def stall(
    stalls: Stalls, fault: str = "", *, messages: int = 300, write_seconds: float = 10.0
) -> Stalls:
    """One run on a server of its own; ``write_seconds`` is how long a write may wait for its reader."""
    settings = {"STREAM_WRITE_SECONDS": str(write_seconds)}
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-stalled-") as folder,
        target(Path(folder), "sqlite", 1, fault, settings=settings) as made,
    ):
        await Stalling(made, stalls).play(messages)
        return stalls


def main() -> int:
    """Runs, prints the figures; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=100)
    parser.add_argument("--messages", type=int, default=500, help="before anybody stalls")
    parser.add_argument("--break", dest="fault", choices=["patient"], default="")
    options = parser.parse_args()
    stalls = asyncio.run(stall(Stalls(options.readers), options.fault, messages=options.messages))
    problems = stalls.problems()
    print(json.dumps({**stalls.summary(), "broken_promises": len(problems)}))
    for problem in problems[:20]:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
