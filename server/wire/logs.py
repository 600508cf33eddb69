"""Structured logs: one line per call, and everything the standard ``logging`` module is told.

Call lines are gathered, and made and written a few at a time: a line costs a call a few microseconds
rather than a system call.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import orjson

if TYPE_CHECKING:
    from server.wire.call import Call

Line: TypeAlias = "tuple[float, Call, str, float, str, Mapping[str, Any] | None]"
"""Seconds since 1970, the call, its code, its duration in seconds, the reason of its error (or nothing),
and its request with the secrets blotted out where it is to be shown."""

FLUSH_SECONDS = 0.1
_FLUSH_LINES = 32
"""Enough for the work on a line to find its code and data near the processor; with 512 the calls that
they keep alive drove everything else out of its caches, at 6 us a call."""
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class _Discreet(logging.Formatter):
    """Writes tracebacks with the first line of each exception only: in the lines after it databases
    quote the row that failed, and a row may hold a password's hash."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The stack and, for each exception of the chain, its type and first line."""
        parts: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None and len(parts) < 10:
            first = str(error).partition("\n")[0]
            stack = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"{stack}{type(error).__name__}: {first}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n\ncaused:\n\n".join(reversed(parts))


class JsonFormatter(_Discreet):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line feed."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure(level: str, style: str) -> None:
    """Points the root logger at standard output; ``style`` is ``json`` or ``text``."""
    handler = logging.StreamHandler(sys.stdout)
    if style == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(_Discreet("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=_LEVELS.get(level, 20), handlers=[handler], force=True)
    logging.getLogger("peewee").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class CallLog:
    """The line that each finished call leaves. Lines are written on the loop's thread."""

    def __init__(self, style: str = "json", out: BinaryIO | None = None) -> None:
        self._out = out or sys.stdout.buffer
        self._encode = orjson.dumps if style == "json" else _as_text
        self._lines: deque[Line] = deque()
        self._is_due = False
        self._flushing = threading.Lock()
        self.count: Callable[[Iterable[Line]], None] | None = None
        """Is told of the lines before they are made."""

    def write(self, line: Line) -> None:
        """Takes one line; it is on its way to the output within ``FLUSH_SECONDS``, made beside others:
        that is quicker than each by itself."""
        lines = self._lines
        lines.append(line)
        if len(lines) >= _FLUSH_LINES:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._on_due)

    def _on_due(self) -> None:
        self._is_due = False
        self.flush()

    def flush(self) -> None:
        """Counts and writes what has gathered; in any thread."""
        waiting, count, encode = self._lines, self.count, self._encode
        with self._flushing:
            lines: list[Line] = []
            while waiting:
                lines.append(waiting.popleft())
            if not lines:
                return
            if count is not None:
                count(lines)
            self._out.write(b"\n".join([encode(fields_of(line)) for line in lines]) + b"\n")
            self._out.flush()


def fields_of(line: Line) -> dict[str, Any]:
    """What a line says, by name."""
    time, call, code, seconds, reason, request = line
    fields: dict[str, Any] = {
        "time": _moment(time),
        "method": call.method,
        "code": code,
        "ms": round(seconds * 1000, 3),
        "caller": call.caller.principal,
        "address": call.address,
        "request_id": call.request_id,
    }
    if call.traceparent:
        fields["trace_id"] = call.traceparent[3:35]
    if reason:
        fields["reason"] = reason
    if request is not None:
        fields["request"] = request
    return fields


def _moment(time: float) -> str:
    """An instant as RFC 3339 has it, to the microsecond."""
    second, micros = divmod(round(time * 1_000_000), 1_000_000)
    return f"{_second(second)}.{micros:06d}+00:00" if micros else f"{_second(second)}+00:00"


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    # Hundreds of lines share one: formatting it is a third of making a line.
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _as_text(fields: Mapping[str, Any]) -> bytes:
    method = str(fields["method"]).rpartition("greenroom.")[2]
    text = f"{fields['code']:<18} {fields['ms']:>8.1f} ms  {method}  {fields['caller']}"
    if "reason" in fields:
        text += f"  {fields['reason']}"
    if "request" in fields:
        text += f"  {orjson.dumps(fields['request'], default=str).decode()}"
    return f"{text}  {fields['request_id']}".encode()
