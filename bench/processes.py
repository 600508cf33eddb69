"""Starts what is measured and what measures it; reads CPU and memory of a process."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]


@dataclass
class Child:
    """A running process."""

    process: "subprocess.Popen[str]"

    def cpu_seconds(self) -> float:
        """User and system time so far, of all threads."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def resident_kib(self) -> float:
        """Resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1024

    def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            raise RuntimeError(f"process ended with status {self.process.wait()}")
        return text.strip()

    def say(self, text: str = "") -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()


@contextlib.contextmanager
def running(
    arguments: Sequence[str],
    *,
    program: str = sys.executable,
    environ: dict[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Child]:
    """A process of ours, of Python unless said otherwise, ended (by its id) when the block is left."""
    with contextlib.ExitStack() as stack:
        out: Any = subprocess.PIPE if log is None else stack.enter_context(log.open("w"))
        path = f"{ROOT}{os.pathsep}{ROOT / 'clients/python/src'}"
        process = subprocess.Popen(
            [program, *arguments],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=None if log is None else subprocess.STDOUT,
            text=True,
        )
        try:
            yield Child(process)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def load(program: str, *, module: str = "bench.load", **options: Any) -> dict[str, Any]:
    """Runs one load program to its end; its figures."""
    with running(load_arguments(program, module=module, **options)) as child:
        figures: dict[str, Any] = json.loads(child.line())
        return figures


def load_arguments(program: str, *, module: str = "bench.load", **options: Any) -> list[str]:
    """The command line of a load program."""
    arguments = ["-m", module, program]
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            arguments += [f"--{name.replace('_', '-')}", str(item)]
    return arguments


def wait_until(condition: Any, seconds: float, what: str) -> None:
    """Polls until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.05)


def free_port() -> int:
    """A port of the loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
