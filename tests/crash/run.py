"""Kills the server again and again under chat load and holds it to its promises.

``python -m tests.crash.run --kills 100 --database sqlite [--fault early|doubles|forgetful]``

kill -9 proves atomicity and recovery; it does not prove that anything reached the disk, because the
system's page cache survives the process. For that see ``test_sync_order.py``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_pb2
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from server.core import schema
from tests.crash.history import History
from tests.support.databases import drop_database, fresh_database
from tests.support.mails import token_for
from tests.support.serve import PASSWORD, UNLIMITED

SENDERS = 8
READERS = 4
START_SECONDS = 30.0


class Server:
    """A server process on one port and one database, started as often as it is killed."""

    def __init__(self, folder: Path, database_url: str, fault: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.mail_dir = folder / "mail"
        self._log = folder / "server.log"
        root = Path(__file__).parents[2]
        self._environ = {
            **os.environ,
            **UNLIMITED,
            "PYTHONPATH": f"{root}{os.pathsep}{root / 'clients/python/src'}",
            "STATE_DIR": str(folder),
            "DATABASE_URL": database_url,
            "GRPC_PORT": str(self.port),
            "METRICS_PORT": "0",
            "BCRYPT_COST": "4",
            "STREAM_HEARTBEAT_SECONDS": "1",
        }
        module = ["tests.crash.broken", fault] if fault else ["server"]
        self._command = [sys.executable, "-m", *module, "serve"]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Id of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts it; returns when it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + START_SECONDS
        while not await self._serves():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{self._log.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """kill -9, by process id."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def _serves(self) -> bool:
        async with aio.insecure_channel(self.address) as channel:
            try:
                reply = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=0.5
                )
            except aio.AioRpcError:
                return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


class Run:
    """One run: clients that send and read while the server dies under them."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
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
                asyncio.create_task(self._read(ben, f"reader-{number}"))
                for number in range(READERS)
            ]
            while len(self._streams) < READERS:
                await asyncio.sleep(0.01)
            await asyncio.wait_for(
                asyncio.gather(*(stream.live.wait() for stream in self._streams.values())), 30
            )
            senders = [
                asyncio.create_task(self._send(ada if number % 2 else ben, f"sender-{number}"))
                for number in range(SENDERS)
            ]
            for _ in range(kills):
                await asyncio.sleep(self.random.uniform(0.15, 0.8))
                self.server.kill()
                await self.server.start()
                await self._returned()
            await asyncio.sleep(0.3)
            self.ending.set()
            await asyncio.wait_for(asyncio.gather(*senders), 60)
            self.history.stored = await self._stored(ada)
            await self._caught_up()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def join(self, stack: contextlib.AsyncExitStack, name: str) -> greenroom_client.Client:
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

    async def _send(self, client: greenroom_client.Client, sender: str) -> None:
        """One message after the other, each until it is acknowledged."""
        sent = self.history.attempted.setdefault(sender, [])
        number = 0
        while not self.ending.is_set():
            number += 1
            name = f"{sender}-{number}"
            sent.append(name)
            request = message_pb.SendMessageRequest(
                channel_id=self.channel_id, client_id=name, text=name
            )
            while name not in self.history.acknowledged:
                try:
                    reply = await client.messages.SendMessage(request)
                except aio.AioRpcError as error:
                    if error.code() not in (
                        grpc.StatusCode.UNAVAILABLE,
                        grpc.StatusCode.DEADLINE_EXCEEDED,
                        grpc.StatusCode.CANCELLED,
                    ):
                        raise
                    await asyncio.sleep(0.02)
                else:
                    self.history.acknowledged[name] = reply.message.seq
            await asyncio.sleep(0)

    async def _read(self, client: greenroom_client.Client, reader: str) -> None:
        seen = self.history.read.setdefault(reader, [])
        stream = client.watch(channel_ids=[self.channel_id])
        self._streams[reader] = stream
        try:
            async for event in stream:
                if event.HasField("message"):
                    seen.append((event.seq, event.message.client_id))
        except aio.AioRpcError as error:
            reason = greenroom_client.reason_of(error)
            self.history.refused.append(f"{reader} was refused: {reason or error.code().name}")
            del self._streams[reader]

    async def _returned(self) -> None:
        """Notes how long each reader takes to be live again."""
        began = time.monotonic()
        opened = {name: stream.replies for name, stream in self._streams.items()}
        while opened:
            for name in list(opened):
                stream = self._streams.get(name)
                if stream is None:
                    del opened[name]
                elif stream.replies > opened[name]:
                    self.history.back_seconds.append(time.monotonic() - began)
                    del opened[name]
            if time.monotonic() - began > 15:
                raise RuntimeError(f"readers that did not come back: {sorted(opened)}")
            await asyncio.sleep(0.005)

    async def _stored(self, client: greenroom_client.Client) -> list[tuple[int, str]]:
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


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """A migrated database for one run."""
    url = fresh_database(kind, migrated=False)
    schema.migrate(url)
    try:
        yield url
    finally:
        drop_database(url)


async def run(kind: str, kills: int, seed: int, fault: str = "") -> History:
    """One run on a database of its own; its history."""
    with database(kind) as url, tempfile.TemporaryDirectory(prefix="greenroom-crash-") as folder:
        server = Server(Path(folder), url, fault)
        playing = Run(server, seed)
        try:
            await playing.play(kills)
        finally:
            server.kill()
        return playing.history


def main() -> int:
    """Runs, prints the figures, keeps the history; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--fault", choices=["early", "doubles", "forgetful"], default="")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--history", type=Path, default=None, help="where to keep the history")
    options = parser.parse_args()
    history = asyncio.run(run(options.database, options.kills, options.seed, options.fault))
    problems = history.problems()
    figures: dict[str, Any] = {
        "database": options.database,
        "kills": options.kills,
        "seed": options.seed,
        **history.summary(),
        "broken_promises": len(problems),
    }
    print(json.dumps(figures))
    for problem in problems[:20]:
        print(problem)
    if options.history is not None:
        history.write(options.history)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
