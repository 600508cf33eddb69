"""One process of the group: started on a tether, its lines handed on, ended on demand."""

import asyncio
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from server.edge.tether import NOT_ROOT

KEPT_LINES = 20
"""Last lines of a process that are shown when it ends unexpectedly."""

_TETHER = Path(__file__).with_name("tether.py")
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """What a process of the group runs."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    last_signal: signal.Signals = signal.SIGTERM
    """Asks it to end in good order."""
    quiet: bool = False
    """Its lines are kept for the day it falls, and not handed on."""
    not_root: bool = False
    """It refuses to be root."""


def tethered(program: Program) -> list[str]:
    """The command that runs a program on a tether to this process."""
    start = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
    return [*start, *([NOT_ROOT] if program.not_root else []), *program.command]


class Child:
    """A process in a session of its own, so that Ctrl-C in the terminal does not reach it."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self.began = asyncio.get_running_loop().time()
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._process = process
        self._reading: asyncio.Task[None] | None = None
        self._ended = asyncio.ensure_future(self._wait())

    @classmethod
    async def start(cls, program: Program, say: Callable[[str, str], None]) -> "Child":
        """Starts a program; each line it writes goes to ``say(name, line)``."""
        process = await asyncio.create_subprocess_exec(
            *tethered(program),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=program.environment,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        child = cls(program, process)
        child._reading = asyncio.ensure_future(child._read(say))
        return child

    @property
    def name(self) -> str:
        """The program's."""
        return self.program.name

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once it has ended."""
        return self._process.returncode is None

    async def ended(self) -> int:
        """Its exit status, below 0 for a signal, when it has ended and its last line is out."""
        return await asyncio.shield(self._ended)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to it and to all that it may have started."""
        if self.is_running:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def stop(self, seconds: float) -> bool:
        """Its last signal, and SIGKILL after ``seconds``; False when that was needed."""
        self.signal(self.program.last_signal)
        try:
            await asyncio.wait_for(self.ended(), seconds)
        except TimeoutError:
            await self.kill()
            return False
        return True

    async def kill(self) -> None:
        """Ends it at once."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def _wait(self) -> int:
        status = await self._process.wait()
        if self._reading is not None:
            # What it started may still hold the pipe; its own lines are there already.
            await asyncio.wait([self._reading], timeout=1)
        return status

    async def _read(self, say: Callable[[str, str], None]) -> None:
        out = self._process.stdout
        assert out is not None
        while True:
            try:
                line = await out.readline()
            except ValueError:
                continue  # longer than any line of ours: dropped
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self.lines.append(text)
            if not self.program.quiet:
                say(self.name, text)
