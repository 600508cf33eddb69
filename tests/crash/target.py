"""What is killed: a server process with a state directory, a port and a database of its own."""

import asyncio
import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.core import schema
from tests.support.databases import drop_database, fresh_database
from tests.support.serve import UNLIMITED

START_SECONDS = 30.0
_STORED = "SELECT seq, client_id FROM chat_messages WHERE channel_id = '{}' ORDER BY seq, id"


class Server:
    """A server process on one port and one database, started as often as it is killed."""

    def __init__(self, folder: Path, database_url: str, fault: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.mail_dir = folder / "mail"
        self.log = folder / "server.log"
        self._database_url = database_url
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

    def spawn(self) -> None:
        """Starts it, and waits for nothing."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environ, stdout=log, stderr=subprocess.STDOUT
            )

    async def start(self) -> None:
        """Starts it; returns when it serves."""
        self.spawn()
        assert self._process is not None
        end = time.monotonic() + START_SECONDS
        while not await self._serves():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """kill -9, by process id; harmless when it is dead already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stored(self, channel_id: str) -> list[tuple[int, str]]:
        """Number and client id of a channel's messages, read from the database past the server."""
        with contextlib.closing(self._connected()) as connection:
            cursor = connection.cursor()
            cursor.execute(_STORED.format(channel_id))
            return [(int(seq), str(name)) for seq, name in cursor.fetchall()]

    def _connected(self) -> Any:
        if self._database_url.startswith("sqlite:"):
            return sqlite3.connect(urlsplit(self._database_url).path[1:])
        return psycopg2.connect(self._database_url)

    async def _serves(self) -> bool:
        async with aio.insecure_channel(self.address) as channel:
            try:
                reply = await health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=0.5
                )
            except aio.AioRpcError:
                return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """A migrated database for one run."""
    url = fresh_database(kind, migrated=False)
    schema.migrate(url)
    try:
        yield url
    finally:
        drop_database(url)
