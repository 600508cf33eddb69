"""Unary load by h2load where it is installed, by our own load program where it is not."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench.processes import load

CLIENTS = 4


def h2load(
    target: str, path: str, body: bytes, token: str, seconds: float, in_flight: int
) -> dict[str, Any]:
    """The same request again and again for some seconds.

    h2load counts HTTP status only, which gRPC always answers with 200: whoever calls this compares
    with what the server counted.
    """
    program = shutil.which("h2load")
    if program is None:
        return load(
            "unary",
            target=target,
            path=path,
            body=body.hex(),
            token=token,
            seconds=seconds,
            in_flight=in_flight,
        )
    with tempfile.TemporaryDirectory() as scratch:
        request, log = Path(scratch, "body"), Path(scratch, "log")
        request.write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
        command = [
            program,
            f"--duration={seconds:g}",
            f"--clients={CLIENTS}",
            f"--max-concurrent-streams={in_flight // CLIENTS}",
            f"--data={request}",
            f"--log-file={log}",
            "--header=content-type: application/grpc",
            "--header=te: trailers",
        ]
        if token:
            command.append(f"--header=authorization: Bearer {token}")
        done = subprocess.run(
            [*command, f"http://{target}{path}"], capture_output=True, text=True, check=True
        )
        latencies = sorted(
            int(line.split("\t")[2])
            for line in log.read_text().splitlines()
            if line.count("\t") >= 2
        )
    rate = re.search(r"finished in [^,]*, ([\d.]+) req/s", done.stdout)
    if rate is None or not latencies:
        raise RuntimeError(f"h2load said nothing usable:\n{done.stdout}")
    return {
        "calls": len(latencies),
        "per_second": float(rate[1]),
        "p50_ms": latencies[len(latencies) // 2] / 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] / 1000,
    }
