"""Ends servers in good order, again and again, under load, and holds them to what a deploy promises.

``python -m tests.crash.drain --times 50``: two servers behind Envoy; SIGTERM to one after the other.
Calls are made by a client that repeats nothing, so that none is saved by a second try.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path
from typing import Any

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from greenroom.chat.v1 import message_service_pb2 as message_pb
from greenroom.chat.v1 import message_service_pb2_grpc as message_grpc
from tests.crash.playing import Run
from tests.crash.target import START_SECONDS, Server, Target, target

EXIT_SECONDS = 30.0
NOT_SERVING_SECONDS = 0.1
HEALTHY_SECONDS = 1.5
"""After this time Envoy has asked a server that serves again."""


@dataclass(frozen=True)
class Ending:
    """How one server ended."""

    status: int
    seconds: float
    not_serving_seconds: float
    """From SIGTERM to the health it says; infinite when it never said so."""
    streams: int
    """Open ones at SIGTERM."""


@dataclass
class Drains:
    """What the clients saw, and how the servers ended."""

    calls: Counter[str] = field(default_factory=Counter)
    """By their outcome."""
    told: int = 0
    """Streams that ended with a resume token."""
    untold: list[str] = field(default_factory=list)
    """Streams that ended otherwise."""
    broken: list[str] = field(default_factory=list)
    """Streams that went on somewhere else than where they had ended."""
    endings: list[Ending] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Every promise that was broken."""
        found = [
            f"failed: {number} calls with {outcome}"
            for outcome, number in self.calls.items()
            if outcome != "OK"
        ]
        found += [f"untold: {what}" for what in self.untold] + self.broken
        for number, ending in enumerate(self.endings, 1):
            if ending.status != 0:
                found.append(f"status: server {number} ended with {ending.status}")
            if ending.seconds > EXIT_SECONDS:
                found.append(f"slow: server {number} took {ending.seconds:.1f} s")
            if ending.not_serving_seconds > NOT_SERVING_SECONDS:
                found.append(
                    f"health: server {number} said NOT_SERVING after "
                    f"{ending.not_serving_seconds:.3f} s"
                )
        if self.told < sum(ending.streams for ending in self.endings):
            found.append(f"untold: {self.told} streams were told where they ended")
        return found

    def summary(self) -> dict[str, float]:
        """The figures."""
        return {
            "sigterms": len(self.endings),
            "calls": self.calls["OK"],
            "failed_calls": sum(self.calls.values()) - self.calls["OK"],
            "streams_ended": sum(ending.streams for ending in self.endings),
            "streams_told": self.told,
            "streams_untold": len(self.untold),
            "exit_max_seconds": round(max(ending.seconds for ending in self.endings), 2),
            "not_serving_max_seconds": round(
                max(ending.not_serving_seconds for ending in self.endings), 4
            ),
        }


class Draining:
    """One run."""

    def __init__(self, made: Target, callers: int, streams: int) -> None:
        self.target = made
        self.drains = Drains()
        self._callers = callers
        self._streams = streams
        self._open: Counter[str] = Counter()
        self._done = asyncio.Event()

    async def play(self, times: int) -> None:
        """The whole run."""
        await self.target.start()
        async with contextlib.AsyncExitStack() as stack:
            playing = Run(self.target, seed=1)
            ada = await playing.join(stack, "ada")
            ben = await playing.join(stack, "ben")
            me = await ben.auth.GetMe(auth_pb.GetMeRequest())
            opened = await ada.channels.GetDirectChannel(
                channel_pb.GetDirectChannelRequest(user_id=me.user.id)
            )
            channels = [
                await stack.enter_async_context(_channel(self.target.address)) for _ in range(4)
            ]
            numbered = zip(cycle(channels), range(self._callers), strict=False)
            tasks = [
                asyncio.create_task(self._call(channel, ada, opened.channel.id, number))
                for channel, number in numbered
            ]
            tasks += [
                asyncio.create_task(self._watch(channel, ben))
                for channel, _ in zip(cycle(channels), range(self._streams), strict=False)
            ]
            for _turn, server in zip(range(times), cycle(self.target.servers), strict=False):
                await self._all_open()
                self.drains.endings.append(await self._ended(server))
                await server.start()
                await asyncio.sleep(HEALTHY_SECONDS)
                for task in tasks:
                    if task.done():
                        task.result()
            self._done.set()
            await asyncio.wait(tasks, timeout=10)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _all_open(self) -> None:
        end = time.monotonic() + START_SECONDS
        while self._open["live"] < self._streams:
            if time.monotonic() > end:
                raise RuntimeError(f"only {self._open['live']} streams are open")
            await asyncio.sleep(0.01)

    async def _ended(self, server: Server) -> Ending:
        """Ends a server by SIGTERM and watches its health and its end."""
        streams = await asyncio.to_thread(server.open_streams)
        async with aio.insecure_channel(server.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            said = float("inf")
            with contextlib.suppress(aio.AioRpcError, TimeoutError):
                async with asyncio.timeout(5):
                    reply = await watch.read()
                    if reply is not aio.EOF:
                        said = time.monotonic() - began
            watch.cancel()
        status = await asyncio.to_thread(server.wait, EXIT_SECONDS + 15)
        return Ending(status, time.monotonic() - began, said, streams)

    async def _call(
        self, channel: aio.Channel, client: greenroom_client.Client, channel_id: str, number: int
    ) -> None:
        """Reads and sends in turn; both may be repeated, and neither is."""
        stub = message_grpc.MessageServiceStub(channel)
        for turn in count():
            if self._done.is_set():
                return
            name = f"{number}-{turn}"
            try:
                await stub.SendMessage(
                    message_pb.SendMessageRequest(channel_id=channel_id, client_id=name, text=name),
                    metadata=await _credentials(client),
                    timeout=20,
                )
                await stub.ListMessages(
                    message_pb.ListMessagesRequest(channel_id=channel_id, page_size=5),
                    metadata=await _credentials(client),
                    timeout=20,
                )
                self.drains.calls["OK"] += 2
            except aio.AioRpcError as error:
                self.drains.calls[f"{error.code().name}: {error.details()}"] += 1
            await asyncio.sleep(0.02)

    async def _watch(self, channel: aio.Channel, client: greenroom_client.Client) -> None:
        """One stream after the other, each from the token that the last one ended with."""
        stub = event_grpc.EventServiceStub(channel)
        token, last = "", 0
        while not self._done.is_set():
            call = stub.WatchEvents(
                event_pb.WatchEventsRequest(resume_token=token),
                metadata=await _credentials(client),
            )
            live, end = False, None
            try:
                async for reply in call:
                    if not live and reply.HasField("heartbeat"):
                        live = True
                        self._open["live"] += 1
                    last = self._followed(reply.events, last)
                    end = reply.end if reply.HasField("end") else end
                    if self._done.is_set():
                        return
            except aio.AioRpcError as error:
                if live:
                    self.drains.untold.append(f"{error.code().name}: {error.details()}")
                await asyncio.sleep(0.1)
            else:
                if end is not None and end.resume_token:
                    token = end.resume_token
                    self.drains.told += 1
                else:
                    self.drains.untold.append("ended without a token")
            finally:
                self._open["live"] -= live
                call.cancel()

    def _followed(self, events: Sequence[Any], last: int) -> int:
        """The number of the last message; each has to follow the one before."""
        for event in events:
            if event.HasField("message"):
                if last and event.seq != last + 1:
                    self.drains.broken.append(f"broken: {event.seq} came after {last}")
                last = event.seq
        return last


def _channel(address: str) -> aio.Channel:
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    return aio.insecure_channel(address, options)


async def _credentials(client: greenroom_client.Client) -> tuple[tuple[str, str], ...]:
    token = client.keeper.good_token or await client.keeper.access_token()
    return (("authorization", f"Bearer {token}"),)


async def drain(
    times: int,
    fault: str = "",
    *,
    callers: int = 8,
    streams: int = 20,
    drain_seconds: float = 25.0,
) -> Drains:
    """One run on two servers, PostgreSQL and Valkey of its own."""
    settings = {"DRAIN_SECONDS": str(drain_seconds)}
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-drain-") as folder,
        target(Path(folder), "postgresql", 2, fault, settings=settings) as made,
    ):
        draining = Draining(made, callers, streams)
        await draining.play(times)
        return draining.drains


def main() -> int:
    """Runs, prints the figures; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--break", dest="fault", choices=["silent", "hasty"], default="")
    options = parser.parse_args()
    drains = asyncio.run(
        drain(options.times, options.fault, callers=options.callers, streams=options.streams)
    )
    problems = drains.problems()
    print(json.dumps({**drains.summary(), "broken_promises": len(problems)}))
    for problem in problems[:20]:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
