"""Log lines: JSON that stands alone, and tracebacks that quote no row."""

import io
import json
import logging
import sys
from types import SimpleNamespace

from server.core.caller import ANONYMOUS
from server.wire.logs import CallLog, JsonFormatter

HASH = "$2b$12$" + "secret"


def test_a_traceback_quotes_no_row() -> None:
    try:
        try:
            raise ValueError(f"null value in column x\nDETAIL: Failing row contains ({HASH}).")
        except ValueError as first:
            raise RuntimeError(f"the unit failed\nwith {HASH}") from first
    except RuntimeError:
        record = logging.LogRecord("n", 40, "f", 1, "it failed", (), sys.exc_info())
    line = JsonFormatter().format(record)
    assert HASH not in line
    traceback = json.loads(line)["traceback"]
    assert traceback.index("ValueError: null value in column x") < traceback.index("RuntimeError")
    assert "test_logs.py" in traceback


async def test_call_lines_are_written_whole() -> None:
    out = io.BytesIO()
    log = CallLog("json", out)  # type: ignore[arg-type]
    call = SimpleNamespace(
        method="greenroom.m",
        caller=ANONYMOUS,
        address="::1",
        request_id="r",
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    log.write((0.0, call, "OK", 0.0012344, "", None))  # type: ignore[arg-type]
    log.write((1.5, call, "ABORTED", 2.0, "WHY", {"text": "a\nb"}))  # type: ignore[arg-type]
    log.flush()
    first, second = (json.loads(line) for line in out.getvalue().decode().splitlines())
    assert first == {
        "time": "1970-01-01T00:00:00+00:00",
        "method": "greenroom.m",
        "code": "OK",
        "ms": 1.234,
        "caller": "anonymous",
        "address": "::1",
        "request_id": "r",
        "trace_id": "a" * 32,
    }
    assert (second["reason"], second["request"], second["ms"]) == ("WHY", {"text": "a\nb"}, 2000)
    assert second["time"] == "1970-01-01T00:00:01.500000+00:00"
