"""Log-in: bound by bcrypt alone, out of the way of everybody else, and refused at once when full."""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt
import grpc
from grpc import aio

from bench.figures import Runs
from bench.h2load import h2load
from bench.processes import load, load_arguments, running
from bench.system import BCRYPT_COST, GUESTS, HASH_QUEUE, PASSWORD, System, guest
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc

LOG_IN = "/greenroom.auth.v1.AuthService/LogIn"
FULL = (os.cpu_count() or 1) + HASH_QUEUE
"""Log-ins in flight that fill every hash thread and the whole queue."""
LEAST_SECONDS = 8.0
"""A log-in takes a quarter of a second, so shorter runs count too few."""
PROBES = 100
PROBES_AT_ONCE = 20


def requests() -> list[str]:
    """A request for each of the guests: none of them is tried often enough at once to have to
    wait."""
    return [
        auth_pb.LogInRequest(email=guest(number), password=PASSWORD).SerializeToString().hex()
        for number in range(GUESTS)
    ]


def _log_ins(target: str, seconds: float, in_flight: int) -> dict[str, Any]:
    return {
        "target": target,
        "path": LOG_IN,
        "body": requests(),
        "seconds": seconds,
        "in_flight": in_flight,
    }


def checkpw_per_second(seconds: float) -> float:
    """How often ``bcrypt.checkpw`` ends in a second on all cores together."""
    with running(["-m", "bench.hashing", f"{seconds:g}"]) as child:
        return float(json.loads(child.line())["per_second"])


def log_in(system: System, target: str, options: argparse.Namespace) -> Runs:
    """Log-ins beside bare ``bcrypt.checkpw`` calls of the same cost."""
    seconds = max(options.seconds, LEAST_SECONDS)
    runs = []
    for _ in range(min(3, options.runs)):
        bare = checkpw_per_second(seconds)
        counted = system.served(LOG_IN)
        before = system.child.cpu_seconds()
        run = load("unary", **_log_ins(target, seconds, 2 * (os.cpu_count() or 1)))
        _all_good(system, counted, run["calls"])
        run["cpu_us_per_call"] = (system.child.cpu_seconds() - before) / run["calls"] * 1e6
        run["bare_per_second"], run["ratio_to_bare"] = bare, run["per_second"] / bare
        runs.append(run)
    return runs


def get_me_beside_log_ins(
    system: System, target: str, options: argparse.Namespace, path: str
) -> Runs:
    """GetMe while the hash pool is full of log-ins; what it is compared with is its own idle
    throughput."""

    def get_me() -> dict[str, Any]:
        return h2load(target, path, b"", system.token, options.seconds, 64)

    runs = []
    for _ in range(min(3, options.runs)):
        idle = get_me()
        with _full(target, options.seconds + 2):
            run = get_me()
        run["bare_per_second"] = idle["per_second"]
        run["ratio_to_bare"] = run["per_second"] / idle["per_second"]
        runs.append(run)
    return runs


def refused_log_in(_system: System, target: str, _options: argparse.Namespace) -> Runs:
    """How long a log-in takes to be refused while the hash pool is full."""
    with _full(target, LEAST_SECONDS):
        return [asyncio.run(_refusals(target))]


async def _refusals(target: str) -> dict[str, Any]:
    request = auth_pb.LogInRequest(email=guest(0), password=PASSWORD)
    async with aio.insecure_channel(target) as channel:
        auth = auth_grpc.AuthServiceStub(channel)

        async def refused_after() -> float | None:
            began = time.perf_counter()
            try:
                await auth.LogIn(request)
            except aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                return time.perf_counter() - began
            return None

        probes = []
        for _ in range(PROBES // PROBES_AT_ONCE):
            probes += [asyncio.create_task(refused_after()) for _ in range(PROBES_AT_ONCE)]
            await asyncio.sleep(0.2)
        took = sorted(took for took in await asyncio.gather(*probes) if took is not None)
    # A place that falls free between two log-ins of the load may be had by a probe.
    if len(took) < PROBES * 0.8:
        raise RuntimeError(f"only {len(took)} of {PROBES} log-ins were refused: the pool had room")
    return {"p50_ms": 1000 * took[len(took) // 2], "p99_ms": 1000 * took[int(len(took) * 0.99)]}


@contextlib.contextmanager
def _full(target: str, seconds: float) -> Iterator[None]:
    """Keeps the hash pool full of log-ins while the block runs."""
    with running(load_arguments("unary", **_log_ins(target, seconds, FULL))) as flood:
        time.sleep(1.5)
        yield
        flood.line()


def _all_good(system: System, counted: float, calls: int) -> None:
    really = system.served(LOG_IN) - counted
    if really < calls:
        raise RuntimeError(f"log_in: {calls} replies, but {really:.0f} were OK")


def main() -> None:
    """The bare peer: as many threads as cores that check one password for some seconds."""
    seconds = float(sys.argv[1])
    password = b"x" * 44
    hashed = bcrypt.hashpw(password, bcrypt.gensalt(BCRYPT_COST))
    cores = os.cpu_count() or 1
    end = time.perf_counter() + seconds

    def work(_number: int) -> int:
        done = 0
        while time.perf_counter() < end:
            bcrypt.checkpw(password, hashed)
            done += 1
        return done

    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as threads:
        done = sum(threads.map(work, range(cores)))
    print(json.dumps({"per_second": done / (time.perf_counter() - began)}), flush=True)


if __name__ == "__main__":
    main()
