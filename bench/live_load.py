"""Load programs for live streams, each a process of its own that prints lines of JSON.

``pace``: sends at a steady rate, each with the time in its text. ``listen``: streams that read that
time. ``idle``: streams that wait for heartbeats. ``token``: where a stream stands. ``resume``: a stream
that catches up from there.
"""

import argparse
import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

from bench.measuring import SEND_MESSAGE, TEXT_BYTES, WATCH_EVENTS, watch_request
from bench.raw import Connection, connect
from bench.tally import eventually
from bench.wire_format import count_events, send_request
from greenroom.chat.v1 import event_service_pb2

CONNECTIONS = 4
TICK_SECONDS = 0.001
CONNECTS_AT_ONCE = 50
LATE_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
_TIME = re.compile(rb"@(\d{19})@")


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
        "most_ms": 1000 * ordered[-1],
    }


async def line() -> str:
    """The next line of standard input."""
    return await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def up(streams: int, caught_up: Callable[[], int], ended: Callable[[], int]) -> None:
    """Says that all streams have caught up, as soon as they have."""
    await eventually(lambda: caught_up() >= streams or ended() > 0, PATIENCE_SECONDS)
    if ended() or caught_up() < streams:
        raise RuntimeError(f"{caught_up()} of {streams} streams are up, {ended()} have ended")
    print("ready", flush=True)


async def pace(options: argparse.Namespace) -> dict[str, Any]:
    """``rate`` sends a second for some seconds, whether or not the server keeps up.

    The time in a text is when it was due, so a send that the program itself was late with counts as
    slow. A reply's latency is taken from there, too.
    """
    due_of: dict[tuple[int, int], float] = {}
    latencies: list[float] = []
    clock = time.monotonic

    def ended(number: int, stream: int) -> None:
        latencies.append(clock() - due_of.pop((number, stream)))

    def start(number: int, on: int) -> None:
        due = began + number / options.rate
        text = f"@{int(due * 1e9):019d}@".ljust(TEXT_BYTES, "x")
        channel = options.channel[number % len(options.channel)]
        stream = connections[on].call(send_request(channel, f"{run}-{number}", text))
        due_of[on, stream] = due

    connections = []
    for number in range(CONNECTIONS):
        connections.append(
            await connect(
                options.target,
                SEND_MESSAGE,
                options.token[0],
                lambda stream, number=number: ended(number, stream),  # type: ignore[misc]
            )
        )
    run, began, sent = os.urandom(6).hex(), clock(), 0
    calls = round(options.rate * options.seconds)
    while sent < calls:
        while sent < calls and began + sent / options.rate <= clock():
            start(sent, sent % CONNECTIONS)
            sent += 1
        await asyncio.sleep(TICK_SECONDS)
    if not await eventually(lambda: not due_of, LATE_SECONDS):
        raise RuntimeError(f"{len(due_of)} of {sent} sends have no reply")
    return {"calls": sent, "per_second": sent / options.seconds, **percentiles(latencies)}


async def listen(options: argparse.Namespace) -> dict[str, Any]:
    """A stream for each token and channel; how long messages with a time in them took to come."""
    latencies: list[float] = []
    replies = ended = 0

    def on_message(raw: bytes) -> None:
        nonlocal replies
        replies += 1
        now = time.monotonic_ns()
        latencies.extend((now - int(sent)) / 1e9 for sent in _TIME.findall(raw))

    def on_end(_stream: int) -> None:
        nonlocal ended
        ended += 1

    for token in options.token:
        connection = await connect(options.target, WATCH_EVENTS, token, on_end, on_message)
        for channel in options.channel:
            connection.call(watch_request(channel))
    streams = len(options.token) * len(options.channel)
    await up(streams, lambda: replies, lambda: ended)
    expected = int(await line())
    await eventually(lambda: len(latencies) >= expected, LATE_SECONDS)
    if ended or len(latencies) != expected:
        raise RuntimeError(f"{len(latencies)} of {expected} came, {ended} streams ended")
    return {"events": len(latencies), **percentiles(latencies)}


async def idle(options: argparse.Namespace) -> dict[str, Any]:
    """Streams, each on a connection of its own, and how late their heartbeats come."""
    period = options.seconds
    last: dict[int, float] = {}
    late: list[float] = []
    ended = 0

    def on_message(number: int) -> None:
        now = time.monotonic()
        if number in last:
            late.append(max(0.0, now - last[number] - period))
        else:
            gate.release()
        last[number] = now

    def on_end(_stream: int) -> None:
        nonlocal ended
        ended += 1

    async def open_stream(number: int) -> None:
        # So many at a time: who opens all at once is told to come again by a server that is busy.
        await gate.acquire()
        connection = await connect(
            options.target,
            WATCH_EVENTS,
            options.token[0],
            on_end,
            lambda _raw: on_message(number),
        )
        connection.call(watch_request())
        opened.append(connection)

    gate = asyncio.Semaphore(CONNECTS_AT_ONCE)
    opened: list[Connection] = []
    opening = asyncio.gather(*map(open_stream, range(options.streams)))
    await up(options.streams, lambda: len(last), lambda: ended)
    await opening
    await line()
    now = time.monotonic()
    # A beat that has not come yet is as late as it is by now.
    late += [now - at - period for at in last.values() if now - at > period]
    if ended:
        raise RuntimeError(f"{ended} streams ended")
    return {"beats": len(late), **percentiles(late)}


async def token(options: argparse.Namespace) -> dict[str, Any]:
    """The resume token of a stream that has just caught up."""
    caught_up = asyncio.get_running_loop().create_future()

    def on_message(raw: bytes) -> None:
        reply = event_service_pb2.WatchEventsResponse.FromString(raw)
        if reply.HasField("heartbeat") and not caught_up.done():
            caught_up.set_result(reply.heartbeat.resume_token)

    connection = await connect(
        options.target, WATCH_EVENTS, options.token[0], lambda _stream: None, on_message
    )
    connection.call(watch_request(options.channel[0]))
    async with asyncio.timeout(LATE_SECONDS):
        resume_token = await caught_up
    connection.close()
    return {"resume_token": resume_token}


async def resume(options: argparse.Namespace) -> dict[str, Any]:
    """From the connecting to the heartbeat that says: caught up; every message once, in order."""
    replies: list[bytes] = []
    caught_up = asyncio.get_running_loop().create_future()

    def on_message(raw: bytes) -> None:
        if count_events(raw):
            replies.append(raw)
        elif not caught_up.done():
            caught_up.set_result(time.monotonic())

    began = time.monotonic()
    connection = await connect(
        options.target, WATCH_EVENTS, options.token[0], lambda _stream: None, on_message
    )
    connection.call(watch_request(options.channel[0], options.resume_token))
    async with asyncio.timeout(PATIENCE_SECONDS):
        seconds = await caught_up - began
    connection.close()
    events = [
        event
        for raw in replies
        for event in event_service_pb2.WatchEventsResponse.FromString(raw).events
    ]
    seqs = [event.seq for event in events if event.HasField("message")]
    if len(seqs) != options.calls or seqs != list(range(seqs[0], seqs[0] + len(seqs))):
        raise RuntimeError(f"{len(seqs)} messages came, {options.calls} in a row were missed")
    return {"seconds": seconds, "per_second": len(seqs) / seconds}


PROGRAMS = {"pace": pace, "listen": listen, "idle": idle, "token": token, "resume": resume}


def main() -> None:
    """Runs one program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--target", required=True)
    parser.add_argument("--token", action="append", required=True)
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("--resume-token", default="")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--calls", type=int, default=0)
    parser.add_argument("--streams", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(uvloop.run(PROGRAMS[options.program](options))), flush=True)


if __name__ == "__main__":
    main()
