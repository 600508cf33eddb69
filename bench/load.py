"""Load programs, each a process of its own: they print one JSON object and end.

``unary``: one encoded request again and again. ``send``: SendMessage with a new client id each
time. ``watch``: open streams that count events. ``idle``: open streams that wait.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from grpc import aio

from bench.wire_format import count_events, send_requests

Metadata = list[tuple[str, str]]


async def _flood(
    call: Callable[[], Awaitable[Any]], seconds: float, in_flight: int
) -> dict[str, Any]:
    latencies: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal failed
        while (began := time.perf_counter()) < end:
            try:
                await call()
            except aio.AioRpcError as error:
                failed += 1
                if failed == 1:
                    print(error.details(), file=sys.stderr)
            else:
                latencies.append(time.perf_counter() - began)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    return {
        "calls": len(latencies),
        "failed": failed,
        "per_second": len(latencies) / elapsed,
        "p50_ms": 1000 * _at(latencies, 0.50),
        "p99_ms": 1000 * _at(latencies, 0.99),
    }


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def unary(options: argparse.Namespace) -> dict[str, Any]:
    """The same request, ``in_flight`` at a time, over four connections."""
    channels = _channels(options.target, 4)
    calls = [channel.unary_unary(options.path) for channel in channels]
    body = bytes.fromhex(options.body)
    metadata = _metadata(options)
    turn = iter(range(1 << 60))
    return await _flood(
        lambda: calls[next(turn) % len(calls)](body, metadata=metadata),
        options.seconds,
        options.in_flight,
    )


async def send(options: argparse.Namespace) -> dict[str, Any]:
    """SendMessage, round robin over the channels, each with a client id of its own."""
    channels = _channels(options.target, 4)
    calls = [channel.unary_unary(options.path) for channel in channels]
    requests = send_requests(options.channel, options.text_bytes)
    metadata = _metadata(options)
    turn = iter(range(1 << 60))
    return await _flood(
        lambda: calls[next(turn) % len(calls)](next(requests), metadata=metadata),
        options.seconds,
        options.in_flight,
    )


async def watch(options: argparse.Namespace) -> dict[str, Any]:
    """Counts the events that arrive on ``streams`` streams between two lines on standard input."""
    channels = _channels(options.target, options.connections)
    body = bytes.fromhex(options.body)
    counted = ready = 0

    async def read(number: int) -> None:
        nonlocal counted, ready
        stream = channels[number % len(channels)].unary_stream(options.path)(
            body, metadata=_metadata(options)
        )
        first = True
        async for raw in stream:
            counted += count_events(raw)
            if first:
                first = False
                ready += 1

    tasks = [asyncio.ensure_future(read(number)) for number in range(options.streams)]
    while ready < options.streams:
        await asyncio.sleep(0.05)
        for task in tasks:
            if task.done():
                task.result()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    began, before = time.perf_counter(), counted
    await loop.run_in_executor(None, sys.stdin.readline)
    elapsed, events = time.perf_counter() - began, counted - before
    for task in tasks:
        task.cancel()
    return {"events": events, "seconds": elapsed, "per_second": events / elapsed}


def _channels(target: str, count: int) -> list[aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [aio.insecure_channel(target, options=options) for _ in range(count)]


def _metadata(options: argparse.Namespace) -> Metadata:
    return [("authorization", f"Bearer {options.token}")] if options.token else []


def main() -> None:
    """Runs one program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=["unary", "send", "watch"])
    parser.add_argument("--target", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--body", default="")
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("--text-bytes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    program = {"unary": unary, "send": send, "watch": watch}[options.program]
    print(json.dumps(uvloop.run(program(options))), flush=True)


if __name__ == "__main__":
    main()
