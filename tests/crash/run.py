"""Kills the server again and again under chat load and holds it to its promises.

``python -m tests.crash.run --kills 100 --database sqlite [--break early|doubles|forgetful]``

kill -9 proves atomicity and recovery; it does not prove that anything reached the disk, because the
system's page cache survives the process. For that see ``test_sync_order.py``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_pb2
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from tests.crash.history import History, Journal, journal_in
from tests.crash.target import Server, database
from tests.support.mails import token_for
from tests.support.serve import PASSWORD

RETURN_SECONDS = 15.0
"""A reader that is away for longer is counted as refused."""
FALSE_STARTS = 0.2
"""The part of the kills that hits a server that is still starting."""
_EXPECTED = {
    grpc.StatusCode.UNAVAILABLE,
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
        self, server: Server, seed: int, load: Load | None = None, journal: Journal | None = None
    ) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.load = load or Load()
        self.journal = journal or Journal()
        self.history = History()
        self.ending = asyncio.Event()
        self.channel_id = ""
        self._streams: dict[str, greenroom_client.EventStream] = {}

    async def play(self, kills: int) -> None:
        """The whole run."""
        await self.server.start()
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
            left = kills
            while left > 0:
                await asyncio.sleep(self.random.uniform(0.15, 0.8))
                left -= await self._killed(left)
                for sender in senders:
                    if sender.done():
                        sender.result()
            await asyncio.sleep(0.3)
            self.ending.set()
            await asyncio.wait_for(asyncio.gather(*senders), 60)
            self.history.stored = self.server.stored(self.channel_id)
            self.history.listed = await self._listed(ada)
            await self._caught_up()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def join(self, stack: contextlib.AsyncExitStack, name: str) -> greenroom_client.Client:
        """Somebody new, signed in."""
        client = await stack.enter_async_context(greenroom_client.connect(self.server.address))
        address = f"{name}@example.com"
        await client.auth.SignUp(
            auth_pb.SignUpRequest(
                email=address, password=PASSWORD, persona=user_pb2.PERSONA_CREATOR
            )
        )
        token = await token_for(self.server.mail_dir, address)
        await client.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
        await client.log_in(email=address, password=PASSWORD)
        return client

    async def _killed(self, most: int) -> int:
        """Kills the server, at times more than once before it is up again; how often it did."""
        kills = 1
        self.server.kill()
        self.journal.note("kill")
        while kills < most and self.random.random() < FALSE_STARTS:
            self.server.spawn()
            await asyncio.sleep(self.random.uniform(0.05, 1.2))
            self.server.kill()
            kills += 1
            self.journal.note("kill", starting=True)
        await asyncio.sleep(0.05)  # What it still said is read by now.
        await self._back()
        return kills

    async def _back(self) -> None:
        """Starts the server and notes how long each reader takes to be live again."""
        replies = {name: stream.replies for name, stream in self._streams.items()}
        back: dict[str, float] = {}
        waiting = asyncio.create_task(self._note_returns(replies, back))
        await self.server.start()
        served = time.monotonic()
        self.journal.note("serve")
        await asyncio.wait([waiting], timeout=RETURN_SECONDS)
        waiting.cancel()
        for name in replies:
            if name in back:
                seconds = max(0.0, back[name] - served)
                self.history.back_seconds.append(seconds)
                self.journal.note("back", by=name, seconds=round(seconds, 4))
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


async def run(
    kind: str,
    kills: int,
    seed: int,
    fault: str = "",
    load: Load | None = None,
    keep: Path | None = None,
) -> History:
    """One run on a database of its own; its history. ``keep`` takes the journal, and the server's
    log when a promise was broken or the run itself failed."""
    with (
        database(kind) as url,
        tempfile.TemporaryDirectory(prefix="greenroom-crash-") as folder,
        journal_in(keep) as journal,
    ):
        journal.note("run", database=kind, kills=kills, seed=seed, fault=fault)
        server = Server(Path(folder), url, fault)
        playing = Run(server, seed, load, journal)
        kept = False
        try:
            await playing.play(kills)
            for seq, name in playing.history.stored:
                journal.note("stored", name=name, seq=seq)
            kept = not playing.history.problems()
        finally:
            server.kill()
            if keep is not None and not kept:
                shutil.copyfile(server.log, keep.with_suffix(".log"))
        return playing.history


def main() -> int:
    """Runs, prints the figures, keeps the history; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument(
        "--break", dest="fault", choices=["early", "doubles", "forgetful"], default=""
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--per-second", type=float, default=200.0, help="messages of all senders")
    parser.add_argument("--history", type=Path, help="a .jsonl.gz; in build/crash/ by default")
    options = parser.parse_args()
    name = "-".join(filter(None, [options.database, str(options.seed), options.fault]))
    keep = options.history or Path("build/crash", f"{name}.jsonl.gz")
    load = Load(options.senders, options.readers, options.per_second)
    print(f"seed {options.seed}, history in {keep}", flush=True)
    history = asyncio.run(
        run(options.database, options.kills, options.seed, options.fault, load, keep)
    )
    problems = history.problems()
    figures: dict[str, Any] = {
        "database": options.database,
        "kills": options.kills,
        "seed": options.seed,
        "senders": load.senders,
        "readers": load.readers,
        **history.summary(),
        "broken_promises": len(problems),
    }
    print(json.dumps(figures))
    for problem in problems[:20]:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
