"""Load programs, each a process of its own: they print one JSON object and end.

``unary``: one encoded request again and again. ``send``: SendMessage with a new client id each
time. ``watch``: open streams that count the events that arrive. ``drain``: streams that end by
themselves, read to their end.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvloop

from bench.raw import Connection, connect
from bench.wire_format import count_events, send_requests

CONNECTIONS = 4


async def flood(options: argparse.Namespace, requests: Iterator[bytes]) -> dict[str, Any]:
    """Keeps ``in_flight`` calls going over four connections for some seconds."""
    loop = asyncio.get_running_loop()
    clock = time.perf_counter
    began: dict[tuple[int, int], float] = {}
    latencies: list[float] = []
    finished = loop.create_future()
    connections: list[Connection] = []
    end = clock() + options.seconds

    def start(number: int) -> None:
        began[number, connections[number].call(next(requests))] = clock()

    def ended(number: int, stream: int) -> None:
        now = clock()
        latencies.append(now - began.pop((number, stream)))
        if now < end:
            start(number)
        elif not began and not finished.done():
            finished.set_result(None)

    for number in range(CONNECTIONS):
        connections.append(
            await connect(
                options.target,
                options.path,
                options.token,
                lambda stream, number=number: ended(number, stream),  # type: ignore[misc]
            )
        )
    started = clock()
    for number in range(options.in_flight):
        start(number % CONNECTIONS)
    lost = [asyncio.ensure_future(connection.ended) for connection in connections]
    done, _ = await asyncio.wait(
        [finished, *lost], timeout=options.seconds + 30, return_when=asyncio.FIRST_COMPLETED
    )
    if finished not in done:
        raise RuntimeError("the server did not answer to the end")
    elapsed = clock() - started
    for connection in connections:
        connection.close()
    latencies.sort()
    return {
        "calls": len(latencies),
        "per_second": len(latencies) / elapsed,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
    }


async def unary(options: argparse.Namespace) -> dict[str, Any]:
    """The same request, or the same few in turn, again and again."""
    return await flood(options, itertools.cycle(bytes.fromhex(body) for body in options.body))


async def send(options: argparse.Namespace) -> dict[str, Any]:
    """SendMessage, round robin over the channels, each with a client id of its own."""
    return await flood(options, send_requests(options.channel, options.text_bytes))


async def watch(options: argparse.Namespace) -> dict[str, Any]:
    """Counts the events that arrive on ``streams`` streams between two lines on standard input."""
    counted = replies = ended = 0

    def on_message(raw: bytes) -> None:
        nonlocal counted, replies
        replies += 1
        counted += count_events(raw)

    def on_end(_stream: int) -> None:
        nonlocal ended
        ended += 1

    connections = [
        await connect(options.target, options.path, options.token, on_end, on_message)
        for _ in range(options.connections)
    ]
    for number in range(options.streams):
        connections[number % len(connections)].call(bytes.fromhex("".join(options.body)))
    # Each stream says once that it has caught up.
    until = time.monotonic() + 60
    while replies < options.streams:
        if ended or time.monotonic() > until:
            raise RuntimeError(f"{ended} streams ended, {replies} of {options.streams} are up")
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    began, before = time.perf_counter(), counted
    await loop.run_in_executor(None, sys.stdin.readline)
    elapsed, events = time.perf_counter() - began, counted - before
    if ended:
        raise RuntimeError(f"{ended} streams ended during the run")
    for connection in connections:
        connection.close()
    return {"events": events, "seconds": elapsed, "per_second": events / elapsed}


async def drain(options: argparse.Namespace) -> dict[str, Any]:
    """Opens ``streams`` streams and counts their messages until all have ended."""
    messages = ended = 0
    finished = asyncio.get_running_loop().create_future()

    def on_message(_raw: bytes) -> None:
        nonlocal messages
        messages += 1

    def on_end(_stream: int) -> None:
        nonlocal ended
        ended += 1
        if ended == options.streams:
            finished.set_result(None)

    connections = [
        await connect(options.target, options.path, options.token, on_end, on_message)
        for _ in range(options.connections)
    ]
    began = time.perf_counter()
    for number in range(options.streams):
        connections[number % len(connections)].call(bytes.fromhex("".join(options.body)))
    await asyncio.wait_for(finished, options.seconds + 60)
    elapsed = time.perf_counter() - began
    for connection in connections:
        connection.close()
    return {"events": messages, "seconds": elapsed, "per_second": messages / elapsed}


def main() -> None:
    """Runs one program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=["unary", "send", "watch", "drain"])
    parser.add_argument("--target", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--body", action="append", default=[])
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("--text-bytes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    program = {"unary": unary, "send": send, "watch": watch, "drain": drain}[options.program]
    print(json.dumps(uvloop.run(program(options))), flush=True)


if __name__ == "__main__":
    main()
