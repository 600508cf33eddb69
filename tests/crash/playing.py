"""Clients that send and read while what serves them dies, and what they saw."""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle

import grpc
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_pb2
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from tests.crash.history import History, Journal
from tests.crash.target import Server, Target
from tests.support.mails import token_for
from tests.support.serve import PASSWORD
from tests.support.valkey import ValkeyServer

RETURN_SECONDS = 15.0
"""A reader that is away for longer is counted as refused."""
NOTICED_SECONDS = 1.0
"""After this time every reader of a killed server has noticed that it is gone."""
FALSE_STARTS = 0.2
"""The part of the kills that hits a server that is still starting."""
_EXPECTED = {
    grpc.StatusCode.UNAVAILABLE,
    # The database is away, or everything waits for it.
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


@dataclass(frozen=True)
class Load:
    """Who talks and listens while the server dies: half of the senders stick to a message until it is
    acknowledged, the others give it up after an error and never learn what became of it."""

    senders: int = 8
    readers: int = 4
    per_second: float = 400.0
    """Messages of all senders together, while the server is there to take them."""


class Run:
    """One run: clients that send and read while the server dies under them."""

    def __init__(
        self, target: Target, seed: int, load: Load | None = None, journal: Journal | None = None
    ) -> None:
        self.target = target
        self.random = random.Random(seed)
        self.load = load or Load()
        self.journal = journal or Journal()
        self.history = History()
        self.ending = asyncio.Event()
        self.channel_id = ""
        self._streams: dict[str, greenroom_client.EventStream] = {}
        self._victims = cycle(target.servers)
        self._outages: list[asyncio.Task[None]] = []

    async def play(self, kills: int, nemeses: Sequence[str] = ("kill",)) -> None:
        """The whole run. Each kill of a server comes with the next of the other nemeses."""
        await self.target.start()
        async with contextlib.AsyncExitStack() as stack:
            ada = await self.join(stack, "ada")
            ben = await self.join(stack, "ben")
            me = await ben.auth.GetMe(auth_pb.GetMeRequest())
            opened = await ada.channels.GetDirectChannel(
                channel_pb.GetDirectChannelRequest(user_id=me.user.id)
            )
            self.channel_id = opened.channel.id
            readers = [
                asyncio.create_task(self._read((ada, ben)[number % 2], f"reader-{number}"))
                for number in range(self.load.readers)
            ]
            async with asyncio.timeout(30):
                while len(self._streams) < self.load.readers:
                    await asyncio.sleep(0.01)
                await asyncio.gather(*(stream.live.wait() for stream in self._streams.values()))
            senders = [
                asyncio.create_task(
                    self._send((ada, ben)[number // 2 % 2], f"sender-{number}", number % 2 == 0)
                )
                for number in range(self.load.senders)
            ]
            others = cycle([nemesis for nemesis in nemeses if nemesis != "kill"] or [""])
            left = kills
            while left > 0:
                await asyncio.sleep(self.random.uniform(0.15, 0.8))
                await self._struck(next(others))
                left -= await self._killed(left)
                for sender in senders:
                    if sender.done():
                        sender.result()
            # Several serve side by side once Envoy has found the one that started last.
            await asyncio.sleep(0.3 if len(self.target.servers) == 1 else 2.0)
            await asyncio.gather(*self._outages)
            self.ending.set()
            await asyncio.wait_for(asyncio.gather(*senders), 60)
            self.history.stored = self.target.stored(self.channel_id)
            self.history.listed = await self._listed(ada)
            await self._caught_up()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def join(self, stack: contextlib.AsyncExitStack, name: str) -> greenroom_client.Client:
        """Somebody new, signed in."""
        client = await stack.enter_async_context(greenroom_client.connect(self.target.address))
        address = f"{name}@example.com"
        await client.auth.SignUp(
            auth_pb.SignUpRequest(
                email=address, password=PASSWORD, persona=user_pb2.PERSONA_CREATOR
            )
        )
        token = await token_for(self.target.mail_dir, address)
        await client.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
        await client.log_in(email=address, password=PASSWORD)
        return client

    async def _struck(self, nemesis: str) -> None:
        """Something else than a server fails."""
        if nemesis == "bus":
            # It is away while a server is killed, and for a while after.
            bus = self.target.bus
            assert bus is not None
            self._noted("bus", "away")
            await asyncio.to_thread(bus.kill)
            self._outages.append(asyncio.create_task(self._returned(bus, self._moment(0.2, 3.0))))
        elif nemesis == "postgres":
            postgres = self.target.postgres
            assert postgres is not None
            self._noted("postgres", "away")
            # In turn: sessions broken off in good order, and as in a crash.
            at_once = self.history.incidents["postgres"] % 2 == 0
            await asyncio.to_thread(postgres.stop, at_once=at_once)
            await asyncio.sleep(self._moment(0.1, 1.0))
            await asyncio.to_thread(postgres.start)
            self.journal.note("postgres", state="back")

    async def _returned(self, bus: ValkeyServer, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(bus.start)
        self.journal.note("bus", state="back")

    def _noted(self, nemesis: str, state: str) -> None:
        self.history.incidents[nemesis] += 1
        self.journal.note(nemesis, state=state)

    def _moment(self, low: float, high: float) -> float:
        return self.random.uniform(low, high)

    async def _killed(self, most: int) -> int:
        """Kills a server, at times more than once before it is up again; how often it did."""
        await asyncio.gather(*(outage for outage in self._outages if self.random.random() < 0.5))
        server = next(self._victims)
        kills = 1
        self._kill(server)
        if len(self.target.servers) > 1:
            # The others serve: from now on readers are expected back.
            waiting = asyncio.create_task(self._moved(time.monotonic()))
        while kills < most and self.random.random() < FALSE_STARTS:
            server.spawn()
            await asyncio.sleep(self.random.uniform(0.05, 1.2))
            self._kill(server, starting=True)
            kills += 1
        await asyncio.sleep(0.05)  # What it still said is read by now.
        if len(self.target.servers) > 1:
            await server.start()
            self.journal.note("serve", server=server.name)
            await waiting
            self._spread()
        else:
            await self._back(server)
        return kills

    def _kill(self, server: Server, *, starting: bool = False) -> None:
        server.kill()
        self._noted("kill", "starting" if starting else server.name)

    def _spread(self) -> None:
        """Cuts some streams, so that they come to the server that has none."""
        for name in self.random.sample(sorted(self._streams), len(self._streams) // 2):
            self._streams[name].cut()

    async def _moved(self, since: float) -> None:
        """Notes how long after ``since`` each reader that was cut off is live again elsewhere."""
        streams = dict(self._streams)
        before = {name: stream.connections for name, stream in streams.items()}
        replies = {name: stream.replies for name, stream in streams.items()}
        cut: set[str] = set()
        back: dict[str, float] = {}
        while time.monotonic() < since + RETURN_SECONDS:
            for name, stream in streams.items():
                if stream.connections == before[name]:
                    replies[name] = stream.replies
                else:
                    cut.add(name)
                    if stream.replies > replies[name]:
                        back.setdefault(name, time.monotonic() - since)
            if time.monotonic() > since + NOTICED_SECONDS and cut == back.keys():
                break
            await asyncio.sleep(0.005)
        self._note_back(cut, back)

    async def _back(self, server: Server) -> None:
        """Starts the only server and notes how long each reader takes to be live again."""
        replies = {name: stream.replies for name, stream in self._streams.items()}
        back: dict[str, float] = {}
        waiting = asyncio.create_task(self._note_returns(replies, back))
        await server.start()
        served = time.monotonic()
        self.journal.note("serve", server=server.name)
        await asyncio.wait([waiting], timeout=RETURN_SECONDS)
        waiting.cancel()
        self._note_back(set(replies), {name: max(0.0, at - served) for name, at in back.items()})

    def _note_back(self, gone: set[str], back: dict[str, float]) -> None:
        for name in gone:
            if name in back:
                self.history.back_seconds.append(back[name])
                self.journal.note("back", by=name, seconds=round(back[name], 4))
            elif name in self._streams:
                self.history.refused.append(f"away: {name} was not back in {RETURN_SECONDS:.0f} s")

    async def _note_returns(self, replies: dict[str, int], back: dict[str, float]) -> None:
        while away := self._streams.keys() & replies.keys() - back.keys():
            for name in away:
                if self._streams[name].replies > replies[name]:
                    back[name] = time.monotonic()
            await asyncio.sleep(0.005)

    async def _send(self, client: greenroom_client.Client, sender: str, sticks: bool) -> None:
        """One message after the other."""
        chance = random.Random(sender)
        pause = 2 * self.load.senders / self.load.per_second
        sent = self.history.attempted.setdefault(sender, [])
        for number in count(1):
            if self.ending.is_set():
                return
            name = f"{sender}-{number}"
            sent.append(name)
            self.journal.note("attempt", by=sender, name=name)
            while not await self._sent(client, sender, name) and sticks:
                await asyncio.sleep(0.05)
            await asyncio.sleep(chance.uniform(0, pause))

    async def _sent(self, client: greenroom_client.Client, sender: str, name: str) -> bool:
        """Sends a message; whether it was acknowledged."""
        request = message_pb.SendMessageRequest(
            channel_id=self.channel_id, client_id=name, text=name
        )
        try:
            reply = await client.messages.SendMessage(request)
        except aio.AioRpcError as error:
            if error.code() not in _EXPECTED:
                raise
            self.journal.note("unknown", by=sender, name=name, code=error.code().name)
            return False
        self.history.acknowledged[name] = reply.message.seq
        self.journal.note("acknowledged", by=sender, name=name, seq=reply.message.seq)
        return True

    async def _read(self, client: greenroom_client.Client, reader: str) -> None:
        seen = self.history.read.setdefault(reader, [])
        stream = client.watch(channel_ids=[self.channel_id])
        self._streams[reader] = stream
        try:
            async for event in stream:
                if event.HasField("message"):
                    seen.append((event.seq, event.message.client_id))
                    self.journal.note(
                        "read", by=reader, name=event.message.client_id, seq=event.seq
                    )
                elif event.HasField("gap"):
                    self.history.gaps[reader] += 1
                    self.journal.note("gap", by=reader, first_seq=event.gap.first_seq)
        except aio.AioRpcError as error:
            reason = greenroom_client.reason_of(error)
            self.history.refused.append(f"{reader} was refused: {reason or error.code().name}")
            self.journal.note("refused", by=reader, reason=reason)
            del self._streams[reader]

    async def _listed(self, client: greenroom_client.Client) -> list[tuple[int, str]]:
        request = message_pb.ListMessagesRequest(
            channel_id=self.channel_id, after_seq=0, page_size=200
        )
        return [
            (message.seq, message.client_id)
            async for message in greenroom_client.items(client.messages.ListMessages, request)
        ]

    async def _caught_up(self) -> None:
        """Waits until every reader has what there is; one that never will is left to the checker."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if all(len(seen) >= len(self.history.stored) for seen in self.history.read.values()):
                return
            await asyncio.sleep(0.02)
