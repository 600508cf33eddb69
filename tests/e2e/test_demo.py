"""The tour of ``make demo``, as a user takes it: against a running group, again and again."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import free_port
from tests.support.site import ROOT, Site, running

DEMO = ROOT / "clients/python/examples/demo.py"


def tour(folder: Path, **settings: str) -> tuple[int, str]:
    """Takes the tour from a folder: its exit status, and all it says."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "clients/python/src"),
        "http_proxy": "http://127.0.0.1:9",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("demo")
    with running(folder, refresh_grace_seconds=1, dev_oidc_port=free_port()) as site:
        yield site


def test_every_step_is_seen_twice(site: Site, tmp_path: Path) -> None:
    # Read from .env, as `make run` does.
    settings = {
        "HTTP_PORT": site.environ["HTTP_PORT"],
        "STATE_DIR": str(site.state_dir),
        "REFRESH_GRACE_SECONDS": "1",
        "DEV_OIDC_PORT": site.environ["DEV_OIDC_PORT"],
    }
    lines = "".join(f"{name}={value}\n" for name, value in settings.items())
    (tmp_path / ".env").write_text(f"# a comment\n{lines}")
    for _ in range(2):
        status, said = tour(tmp_path)
        assert status == 0, said
        assert said.count("\u2713") == 15, said
        assert "connection was broken 3 times: nothing lost" in said


def test_a_step_that_is_not_seen_is_said(site: Site, tmp_path: Path) -> None:
    status, said = tour(
        tmp_path,
        HTTP_PORT=site.environ["HTTP_PORT"],
        STATE_DIR=str(site.state_dir),
        DEV_OIDC_PORT=site.environ["DEV_OIDC_PORT"],
        REFRESH_GRACE_SECONDS="-0.5",  # It does not wait: the server still forgives.
    )
    assert status == 1
    assert "\u2717" in said
    assert "Traceback" not in said


def test_a_port_that_somebody_else_has_is_named(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = str(somebody.getsockname()[1])
        status, said = tour(tmp_path, HTTP_PORT=site.environ["HTTP_PORT"], DEV_OIDC_PORT=port)
    assert status == 1
    assert f"port {port} (DEV_OIDC_PORT)" in said


def test_where_nothing_serves_one_line_says_what_to_do(tmp_path: Path) -> None:
    port = free_port()
    status, said = tour(tmp_path, HTTP_PORT=str(port))
    assert (status, said.count("\n")) == (1, 1)
    assert "make run" in said
