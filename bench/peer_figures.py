"""Our figures beside those of the peers, turn by turn in the same run."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.figures import Figure, Runs
from bench.h2load import h2load
from bench.measuring import (
    IN_FLIGHT,
    LIST_MESSAGES,
    TEXT_BYTES,
    Measure,
    Options,
    checked,
    come_up,
    converses,
    fan_out,
    figure_of,
    page_request,
    sends,
    watch_arguments,
    with_cpu,
)
from bench.peer import Peer, peer
from bench.processes import load, load_arguments, running
from bench.system import System

SUBSCRIBERS = 100
WARM_CALLS = 4_000
"""Before the first run, on both sides: compilers and caches are warm, and every channel has a page."""


def _peer_load(beside: Peer, program: str, channels: list[str], **options: Any) -> dict[str, Any]:
    return load(
        program,
        module="bench.peer_load",
        target=beside.target,
        token=beside.token,
        channel=channels,
        in_flight=IN_FLIGHT,
        **options,
    )


def _beside(run: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        **run,
        "peer_per_second": other["per_second"],
        "peer_cpu_us_per_call": other["cpu_us_per_call"],
        "peer_client_cores": other["client_cores"],
        "ratio_to_peer": run["per_second"] / other["per_second"],
    }


def send_beside_express(system: System, target: str, options: Options) -> list[Figure]:
    """Durable sends and durable INSERT … RETURNING, 64 in flight each."""
    channels = [str(uuid.uuid4()) for _ in system.channels]
    runs: Runs = []
    with peer("express.mjs", system.db) as express:
        post = partial(_peer_load, express, "http", channels, text_bytes=TEXT_BYTES)
        post(calls=WARM_CALLS)
        sends(system, target, 60, calls=WARM_CALLS)
        for _ in range(options.runs):
            other = with_cpu(express.child, partial(post, seconds=options.seconds))
            run = with_cpu(system.child, lambda: sends(system, target, options.seconds))
            runs.append(_beside(run, other))
    return [figure_of("send_beside_express", system, target, runs, peer="express")]


def list_beside_express(system: System, target: str, options: Options) -> list[Figure]:
    """Pages of 50 messages and SELECT … LIMIT 50, 64 in flight each, out of one channel."""
    channel, seconds = str(uuid.uuid4()), options.seconds
    ours = page_request(system.channels[0])
    runs: Runs = []

    def pages() -> dict[str, Any]:
        return h2load(target, LIST_MESSAGES, ours, system.token, seconds, IN_FLIGHT)

    with peer("express.mjs", system.db) as express:
        get = partial(_peer_load, express, "http", [channel])
        get(calls=WARM_CALLS // 10, text_bytes=TEXT_BYTES)
        get(calls=WARM_CALLS)
        sends(system, target, 60, calls=WARM_CALLS // 10)
        for _ in range(options.runs):
            other = with_cpu(express.child, partial(get, seconds=seconds))
            run = with_cpu(system.child, lambda: checked(system, LIST_MESSAGES, pages))
            runs.append(_beside(run, other))
    return [figure_of("list_beside_express", system, target, runs, peer="express")]


def _fan_out(name: str, send: Callable[[System, str, float], dict[str, Any]]) -> Measure:
    def measure(system: System, target: str, options: Options) -> list[Figure]:
        runs = _fan_outs(system, target, options, partial(send, system, target))
        return [figure_of(name, system, target, runs, peer="socket.io")]

    return measure


def _fan_outs(
    system: System, target: str, options: Options, send: Callable[[float], dict[str, Any]]
) -> Runs:
    """Deliveries of durable messages to 100 subscribers, each on a connection of its own."""
    channels = [str(uuid.uuid4()) for _ in system.channels]
    ours = watch_arguments(system, target, SUBSCRIBERS, SUBSCRIBERS)
    runs: Runs = []
    with peer("socketio.mjs", system.db) as socketio:
        theirs = load_arguments(
            "join",
            module="bench.peer_load",
            target=socketio.target,
            token=socketio.token,
            channel=channels,
            streams=SUBSCRIBERS,
        )
        emit = partial(_peer_load, socketio, "emit", channels, text_bytes=TEXT_BYTES)
        emit(calls=WARM_CALLS)
        sends(system, target, 60, calls=WARM_CALLS)
        for _ in range(options.runs):
            with running(theirs) as subscribers:
                come_up(subscribers)
                other = fan_out(
                    socketio.child, subscribers, SUBSCRIBERS, partial(emit, seconds=options.seconds)
                )
            with running(ours) as subscribers:
                come_up(subscribers)
                run = fan_out(
                    system.child, subscribers, SUBSCRIBERS, partial(send, options.seconds)
                )
            runs.append(_beside(run, other))
    return runs


FIGURES: dict[str, Measure] = {
    # Socket.IO's senders have a stream open, too; the second one says what unary sends make of it.
    "fanout_beside_socketio": _fan_out("fanout_beside_socketio", converses),
    "fanout_unary_beside_socketio": _fan_out("fanout_unary_beside_socketio", sends),
    "send_beside_express": send_beside_express,
    "list_beside_express": list_beside_express,
}
