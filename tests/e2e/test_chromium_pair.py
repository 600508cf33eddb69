"""Two consoles in a real Chromium, whose streams are in different server processes behind Envoy."""

import shutil
import signal
import subprocess
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pair import Pair, two_servers
from tests.support.node import WEB, chromium, installed_typescript, node_environment, visit
from tests.support.site import PASSWORD, wait_until

VISIT_SECONDS = 200


@pytest.fixture
def console(tmp_path: Path) -> Path:
    """The built console."""
    typescript = installed_typescript()
    chromium()
    subprocess.run(["npm", "run", "console"], cwd=typescript, env=node_environment(), check=True)
    return Path(shutil.copy(WEB / "dist/index.html", tmp_path))


class Backstage:
    """Does what nobody can do from a page."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """By the name of what is asked."""
        name = "on_" + asked.pop("ask").replace(" ", "_")
        return getattr(self, name)(**asked) or {}

    def on_streams(self, total: int) -> dict[str, list[int]]:
        """How many streams each server has, once there are so many in all: one that was given up
        is counted until its server hears of it."""

        def counted() -> list[int] | None:
            try:
                counts = [server.open_streams() for server in self.pair.servers]
            except (urllib.error.URLError, ConnectionError):
                return None  # It starts again at this moment.
            return counts if sum(counts) == total else None

        return {"counts": wait_until(counted, f"{total} streams")}

    def on_kill_server(self, number: int) -> None:
        self.pair.end(self.pair.servers[number], signal.SIGKILL)

    def on_restart_envoy(self) -> None:
        with self.pair.restarted("envoy"):
            self.pair.site.child("envoy").kill()


def meet_in_pages(pair: Pair, console: Path, folder: Path) -> dict[str, Any]:
    """Sends two people to the console, and returns how that ended."""
    people = [pair.site.person(name) for name in ("ann", "bob")]
    plan = {
        "page": f"{pair.site.url}/console",
        "html": str(console),
        "people": [{"id": person.id, "email": person.email} for person in people],
        "password": PASSWORD,
        "folder": str(folder),
    }
    return visit("pair.mjs", plan, Backstage(pair).answer, VISIT_SECONDS)


@pytest.mark.timeout(300)
def test_two_pages_in_different_processes_lose_nothing(console: Path, tmp_path: Path) -> None:
    """They see typing, read marks and who is here, and every message once and in order: also those
    that were written while a server was killed, and while Envoy was."""
    with two_servers(tmp_path) as pair:
        ended = meet_in_pages(pair, console, tmp_path)
        assert ended["done"], ended
        # Two talks of one message each way, and at least ten of each around both incidents.
        assert ended["messages"] >= 44
        assert pair.site.stop() == 0, pair.site.output
