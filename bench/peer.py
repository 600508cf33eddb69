"""The peers: what Node engineers would use instead, started for the run beside the measured server."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jwt

from bench.figures import Skipped
from bench.processes import ROOT, Child, running
from bench.system import database

PEERS = ROOT / "bench/peers"
OLDEST_NODE = 20
INSTALL_SECONDS = 180
SECRET = "a secret of the benchmark's peers only"


@dataclass
class Peer:
    """A running peer and somebody to be there."""

    child: Child
    target: str
    token: str


@contextlib.contextmanager
def peer(script: str, db: str) -> Iterator[Peer]:
    """A peer on a database of its own, of the same kind and as durable as the measured server's."""
    node = _node()
    with database(db) as url, tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        environ = {
            "NODE_ENV": "production",
            "PEER_DATABASE": url or str(Path(folder, "peer.db")),
            "PEER_SECRET": SECRET,
        }
        with running([str(PEERS / script)], program=node, environ=environ) as child:
            claims = {"sub": "bench", "exp": int(time.time()) + 86_400}
            token = jwt.encode(claims, SECRET, algorithm="HS256")
            yield Peer(child, f"127.0.0.1:{child.line()}", token)


@cache
def why_missing() -> str:
    """Why there are no peers here, empty when there are. Installs their packages when need be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return f"{'node' if node is None else 'npm'} is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        return f"node {version} is older than {OLDEST_NODE}"
    installed, lock = PEERS / "node_modules/.package-lock.json", PEERS / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return ""
    quiet = {"npm_config_loglevel": "error", "npm_config_update_notifier": "false"}
    try:
        done = subprocess.run(
            [npm, "ci", "--prefer-offline"],
            cwd=PEERS,
            env={**os.environ, **quiet},
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"npm ci took more than {INSTALL_SECONDS} s"
    return "" if done.returncode == 0 else f"npm ci failed: {done.stderr.strip()[:300]}"


def _node() -> str:
    if reason := why_missing():
        raise Skipped(reason)
    node = shutil.which("node")
    assert node is not None
    return node
