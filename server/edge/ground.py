"""What must hold before the group starts: it is alone, its ports are free, its folders are there."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from server.core.config import Settings

LOCK_NAME = "up.lock"
"""File in the state folder that is locked while a group runs; it holds the supervisor's pid."""


_LAST_PORT = 65535


class NotReady(Exception):
    """The group cannot start; the text says in one line what to do."""


@contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Holds the lock of the state folder; ``NotReady`` when another group does."""
    descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode().strip() or "?"
            raise NotReady(
                f"Greenroom is running already on {state_dir} (process {pid}): use it, stop it with "
                f"`kill {pid}`, or give this one another STATE_DIR, HTTP_PORT, GRPC_PORT and METRICS_PORT."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def make_folders(settings: Settings) -> None:
    """Makes the folders that are missing, for this user only."""
    wanted = {"STATE_DIR": settings.state_dir, "KEYS_DIR": settings.keys_dir}
    if not settings.smtp_url:
        wanted["MAIL_DIR"] = settings.mail_dir
    for name, folder in wanted.items():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise NotReady(f"{name}: cannot make {folder}: {error.strerror}.") from None


@dataclass(frozen=True, slots=True)
class Ports:
    """Those of one server."""

    grpc: int
    metrics: int


def claim_ports(settings: Settings, workers: int = 1) -> tuple[Settings, list[Ports]]:
    """The settings with a free port for each one that is 0, and the ports of each server: the second
    one's follow those that are set. ``NotReady`` when a port is taken."""
    places = {("HTTP_PORT", 0): (settings.http_host, settings.http_port)}
    for number in range(workers):
        places["GRPC_PORT", number] = settings.grpc_host, _nth(settings.grpc_port, number)
        places["METRICS_PORT", number] = settings.metrics_host, _nth(settings.metrics_port, number)
    if settings.envoy_admin_port:
        places["ENVOY_ADMIN_PORT", 0] = "127.0.0.1", settings.envoy_admin_port
    ports: dict[tuple[str, int], int] = {}
    with ExitStack() as stack:
        # All are held until the last one is seen, so that two settings cannot share a port.
        for (name, number), (host, port) in places.items():
            listening = stack.enter_context(_bound(name, host, port))
            ports[name, number] = listening.getsockname()[1]
    claimed = [
        Ports(ports["GRPC_PORT", number], ports["METRICS_PORT", number])
        for number in range(workers)
    ]
    settings = replace(
        settings,
        http_port=ports["HTTP_PORT", 0],
        grpc_port=claimed[0].grpc,
        metrics_port=claimed[0].metrics,
    )
    return settings, claimed


def _nth(first: int, number: int) -> int:
    """The port of a further server; any that is free stays any that is free."""
    return first + number if first else 0


def _bound(name: str, host: str, port: int) -> socket.socket:
    if port > _LAST_PORT:
        raise NotReady(f"{name}: there is no port {port} for another worker: set it lower.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            "127.0.0.1" if host == "localhost" else host, port, type=socket.SOCK_STREAM
        )[0]
    except OSError:
        raise NotReady(f"{name.replace('PORT', 'HOST')}: {host!r} is no address.") from None
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        made.listen(1)
    except OSError as error:
        made.close()
        raise NotReady(_refusal(name, host, port, error)) from None
    return made


def _refusal(name: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is taken by another program: stop it, or set {name} to a free port "
            f"(`{name}={port % 65535 + 1} make run`, or a line in .env)."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be used by this user: set {name} to one above 1023."
    return (
        f"{name}: cannot listen on {host}:{port} ({error.strerror}): set it or its host otherwise."
    )
