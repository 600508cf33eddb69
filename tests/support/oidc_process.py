"""A real OpenID provider in a process of its own: ``oidc-provider-mock`` on a free port."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_START_SECONDS = 30.0


@contextmanager
def oidc_provider(folder: Path, *people: dict[str, Any]) -> Iterator[str]:
    """Its issuer. ``people`` are claims with a ``sub``; whoever else signs in has an address only."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    for person in people:
        command += ["--user-claims", json.dumps(person)]
    with (folder / "oidc-provider.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--require-nonce"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    issuer = f"http://127.0.0.1:{port}"
    try:
        _wait_for(issuer, process, folder / "oidc-provider.log")
        yield issuer
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(issuer: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=5).is_success:
                return
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, "the OpenID provider did not start"
            time.sleep(0.05)
