"""Log lines: JSON that stands alone, and tracebacks that quote no row."""

import io
import json
import logging
import sys
import threading
from types import SimpleNamespace

from prometheus_client import CollectorRegistry

from server.core.caller import ANONYMOUS
from server.wire.logs import CallLog, JsonFormatter
from server.wire.metrics import CallMetrics

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


async def test_whoever_asks_meanwhile_sees_each_call_counted_once() -> None:
    out, registry = io.BytesIO(), CollectorRegistry()
    log, metrics = CallLog("json", out), CallMetrics(registry)  # type: ignore[arg-type]
    log.count, metrics.settle = metrics.count, log.flush
    metrics.add("m")
    call = SimpleNamespace(method="m", caller=ANONYMOUS, address="", request_id="r", traceparent="")
    ended, asked = threading.Event(), 0

    def counted() -> float | None:
        labels = {"method": "m", "code": "OK"}
        return registry.get_sample_value("greenroom_rpc_calls_total", labels)

    def ask() -> None:
        nonlocal asked
        while not ended.is_set():
            counted()
            asked += 1

    log.write((0.0, call, "OK", 0.001, "", None))  # type: ignore[arg-type]
    assert counted() == 1
    asking = threading.Thread(target=ask)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    asking.start()
    try:
        for _ in range(20_000):
            log.write((0.0, call, "OK", 0.001, "", None))  # type: ignore[arg-type]
    finally:
        ended.set()
        asking.join()
        sys.setswitchinterval(interval)
    assert asked
    assert counted() == 20_001
    assert [json.loads(line)["method"] for line in out.getvalue().splitlines()] == ["m"] * 20_001
