"""A real OpenID provider in a process of its own: ``oidc-provider-mock`` on a free port."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import ended, free_port, started

_START_SECONDS = 30.0


@contextmanager
def oidc_provider(folder: Path, *people: dict[str, Any]) -> Iterator[str]:
    """Its issuer. ``people`` are claims with a ``sub``; whoever else signs in has an address only."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", port, "--require-nonce"]
    for person in people:
        command += ["--user-claims", json.dumps(person)]

    def answers() -> bool:
        try:
            reply = httpx.get(f"{issuer}/.well-known/openid-configuration", timeout=5)
        except httpx.TransportError:
            return False
        return reply.is_success

    log = folder / "oidc-provider.log"
    process = started(command, log, answers, seconds=_START_SECONDS, missing=RuntimeError)
    try:
        yield issuer
    finally:
        ended(process, signal.SIGTERM)
