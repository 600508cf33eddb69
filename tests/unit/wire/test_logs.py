"""Log lines: JSON that stands alone, and tracebacks that quote no row."""

import io
import json
import logging
import sys

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
    for number in range(3):
        log.write({"method": "m", "code": "OK", "ms": number, "text": "a\nb"})
    log.flush()
    lines = out.getvalue().decode().splitlines()
    assert [json.loads(line)["ms"] for line in lines] == [0, 1, 2]
