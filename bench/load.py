"""Load programs, each a process of its own: they print one JSON object and end.

``unary``: one encoded request again and again. ``send``: SendMessage with a new client id each time.
``converse``: the same over streams of Connect. ``watch``: open streams that count the events that
arrive. ``drain``: streams that end by themselves, read to their end.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvloop

from bench.raw import Connection, connect
from bench.tally import Flood, Tally, eventually
from bench.wire_format import command_done, count_events, send_command, send_requests

CONNECTIONS = 4


async def flood(options: argparse.Namespace, requests: Iterator[bytes]) -> dict[str, Any]:
    """Keeps ``in_flight`` calls going over four connections for some seconds."""
    connections: list[Connection] = []
    flood: Flood[int] = Flood(options, lambda number: connections[number].call(next(requests)))
    for number in range(CONNECTIONS):
        connections.append(
            await connect(options.target, options.path, options.token, partial(flood.ended, number))
        )
    starts = [number % CONNECTIONS for number in range(options.in_flight)]
    figures = await flood.run(starts, [connection.ended for connection in connections])
    for connection in connections:
        connection.close()
    return figures


async def unary(options: argparse.Namespace) -> dict[str, Any]:
    """The same request, or the same few in turn, again and again."""
    return await flood(options, itertools.cycle(bytes.fromhex(body) for body in options.body))


async def send(options: argparse.Namespace) -> dict[str, Any]:
    """SendMessage, round robin over the channels, each with a client id of its own."""
    return await flood(options, send_requests(options.channel, options.text_bytes))


async def converse(options: argparse.Namespace) -> dict[str, Any]:
    """Sends over four streams of Connect, each with a client id of its own."""
    run, text, sent = os.urandom(6).hex(), "x" * options.text_bytes, 0
    connections: list[Connection] = []

    def start(number: int) -> int:
        nonlocal sent
        sent += 1
        channel = options.channel[sent % len(options.channel)]
        connections[number].add(streams[number], send_command(sent, channel, f"{run}-{sent}", text))
        return sent

    flood: Flood[int] = Flood(options, start)

    def on_message(number: int, raw: bytes) -> None:
        if command_id := command_done(raw):
            flood.ended(number, command_id)

    for number in range(CONNECTIONS):
        connections.append(
            await connect(
                options.target,
                options.path,
                options.token,
                lambda _stream: None,
                partial(on_message, number),
            )
        )
    streams = [connection.open() for connection in connections]
    starts = [number % CONNECTIONS for number in range(options.in_flight)]
    figures = await flood.run(starts, [connection.ended for connection in connections])
    for connection in connections:
        connection.close()
    return figures


async def watch(options: argparse.Namespace) -> dict[str, Any]:
    """Counts the events that arrive on ``streams`` streams between two lines on standard input."""
    tally = Tally()
    replies = ended = 0

    def on_message(raw: bytes) -> None:
        nonlocal replies
        replies += 1
        tally.add(count_events(raw))

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
    await eventually(lambda: replies >= options.streams or ended > 0, 60)
    if ended or replies < options.streams:
        raise RuntimeError(f"{ended} streams ended, {replies} of {options.streams} are up")
    caught_up = replies
    figures = await tally.between_lines(lambda: bool(ended))
    figures["events_per_reply"] = figures["events"] / (replies - caught_up)
    for connection in connections:
        connection.close()
    return figures


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


PROGRAMS = {"unary": unary, "send": send, "converse": converse, "watch": watch, "drain": drain}


def main() -> None:
    """Runs one program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--target", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--body", action="append", default=[])
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("--text-bytes", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--calls", type=int, default=sys.maxsize)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    print(json.dumps(uvloop.run(PROGRAMS[options.program](options))), flush=True)


if __name__ == "__main__":
    main()
