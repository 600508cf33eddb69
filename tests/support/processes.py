"""Servers in processes of their own: a free port, a start that is waited for, an end that comes."""

import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on at the moment, each another."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]


def on_free_port(start: Callable[[int], T], missing: type[Exception]) -> T:
    """What ``start`` makes of a port, several times where it raises ``missing``: somebody may take a port
    between the look at it and its use."""
    for _ in range(5):
        try:
            return start(free_port())
        except missing as problem:
            reason = problem
    raise reason


def started(
    command: Sequence[object],
    log: Path,
    answers: Callable[[], bool],
    *,
    seconds: float,
    missing: type[Exception],
    **options: Any,
) -> "subprocess.Popen[bytes]":
    """A process that writes to ``log``, once it answers; ``missing``, with what it wrote, when it ends
    before that or takes longer."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **options,
        )
    until = time.monotonic() + seconds
    while not answers():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            process.wait()
            raise missing(f"{command[0]} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)
    return process


def ended(process: "subprocess.Popen[bytes] | None", number: int, seconds: float = 10.0) -> None:
    """Sends a signal and waits for the end; a process that goes on for so long is killed."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
