"""A whole Greenroom as a user runs it: ``python -m server up`` in a process of its own."""

import email
import email.policy
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.processes import free_ports

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery staple"
START_SECONDS = 60.0
LIMITS = ("ADDRESS", "READ", "WRITE", "LOGIN", "MAIL", "CHAT", "EPHEMERAL", "STREAM")
_people = itertools.count(1)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Polls until the condition is true; its value."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.02)
    return found


def environment(state_dir: Path, **settings: object) -> dict[str, str]:
    """What a child of the tests gets: our settings and none of the caller's; limits are off."""
    http, grpc, metrics = free_ports(3)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients/python/src'}",
        "STATE_DIR": str(state_dir),
        "HTTP_PORT": str(http),
        "GRPC_PORT": str(grpc),
        "METRICS_PORT": str(metrics),
        "BCRYPT_COST": "4",
        **{f"LIMIT_{name}": "off" for name in LIMITS},
        **{name.upper(): str(value) for name, value in settings.items()},
    }


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in."""

    id: str
    email: str
    token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        """For REST."""
        return {"authorization": f"Bearer {self.token}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For gRPC."""
        return (("authorization", f"Bearer {self.token}"),)


class Site:
    """A running group, seen from outside."""

    def __init__(self, environ: dict[str, str], folder: Path, *, workers: int = 1) -> None:
        self.environ = environ
        self.state_dir = Path(environ["STATE_DIR"])
        scheme = "https" if environ.get("TLS_CERT_FILE") else "http"
        self.address = f"127.0.0.1:{environ['HTTP_PORT']}"
        self.url = f"{scheme}://{self.address}"
        self.lines: list[str] = []
        several = ["--workers", str(workers)] if workers > 1 else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "server", "up", *several],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.began = time.monotonic()
        self.family: list[psutil.Process] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """Everything it has printed so far."""
        return "\n".join(self.lines)

    def wait_until_up(self) -> float:
        """Waits for the banner; seconds from the start to it."""

        def banner() -> bool:
            assert self.process.poll() is None, self.output
            return any(line.startswith("Greenroom is up") for line in self.lines)

        wait_until(banner, "the banner", START_SECONDS)
        seconds = time.monotonic() - self.began
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return seconds

    def child(self, name: str) -> psutil.Process:
        """One of its processes: ``serve`` or ``envoy``."""
        found = self.children(name)
        assert found, f"no {name} among the children"
        return found[0]

    def children(self, name: str) -> list[psutil.Process]:
        """Those of its processes that run a program or a command of this name."""
        found = []
        for process in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # It may end at this moment.
                words = " ".join(process.cmdline()).split()
                if any(Path(word).name == name for word in words):
                    found.append(process)
        return found

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds: float = 40.0) -> int:
        """Its exit status, once it has ended and every process of it is gone."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        _gone, alive = psutil.wait_procs(self.family, timeout=5)
        assert alive == [], f"left behind: {alive}"
        return status

    def stop(self) -> int:
        """Ctrl-C, and what comes of it."""
        if self.process.poll() is None:
            self.interrupt()
        return self.wait()

    def kill(self) -> None:
        """The end of a test that went wrong: nothing of the group stays."""
        if self.process.poll() is None:
            self.family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            self.process.wait()
        for process in self.family:
            if process.is_running():
                process.kill()

    def mailed_token(self, to: str) -> str:
        """The token of the newest mail to an address."""

        def found() -> list[Path]:
            return sorted((self.state_dir / "mail").glob(f"*{to}*.eml"))

        wait_until(found, f"a mail to {to}")
        mail = email.message_from_bytes(found()[-1].read_bytes(), policy=email.policy.default)
        body = mail.get_body(("plain",))
        assert body is not None
        match = re.search(r"^Token: (\S+)\s*$", body.get_content(), re.MULTILINE)
        assert match, body.get_content()
        return match[1]

    def person(self, name: str = "person") -> Person:
        """Somebody new, signed up and logged in over REST."""
        address = f"{name}-{next(_people)}@example.com"
        with httpx.Client(base_url=self.url, timeout=20) as rest:
            sign_up = {"email": address, "password": PASSWORD, "persona": "PERSONA_CREATOR"}
            rest.post("/v1/auth:signUp", json=sign_up).raise_for_status()
            token = self.mailed_token(address)
            rest.post("/v1/auth/email:verify", json={"token": token}).raise_for_status()
            reply = rest.post("/v1/auth:logIn", json={"email": address, "password": PASSWORD})
            signed_in = reply.raise_for_status().json()["signedIn"]
        tokens = signed_in["tokens"]
        return Person(
            signed_in["user"]["id"], address, tokens["accessToken"], tokens["refreshToken"]
        )

    def channel(self, one: Person, other: Person) -> str:
        """Id of the direct channel of two people."""
        reply = httpx.post(
            f"{self.url}/v1/chatChannels:direct",
            json={"userId": other.id},
            headers=one.headers,
            timeout=20,
        )
        return str(reply.raise_for_status().json()["channel"]["id"])

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def running(folder: Path, *, workers: int = 1, **settings: object) -> Iterator[Site]:
    """A group that is up, in a folder of its own; left behind is nothing, whatever happens."""
    site = Site(environment(folder / "state", **settings), folder, workers=workers)
    try:
        site.wait_until_up()
        yield site
    finally:
        site.kill()


def refused(folder: Path, environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Runs a group that is not expected to come up: its exit status and all it says."""
    done = subprocess.run(
        [sys.executable, "-m", "server", "up", *arguments],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    return done.returncode, (done.stdout + done.stderr).strip()
