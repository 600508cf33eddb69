"""Figures beside the bare server, turn by turn in the same run."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench import hashing
from bench.figures import Figure, Runs
from bench.h2load import h2load
from bench.measuring import (
    IN_FLIGHT,
    LIST_MESSAGES,
    TEXT_BYTES,
    Measure,
    Options,
    beside_bare,
    checked,
    come_up,
    fan_out,
    figure_of,
    page_request,
    sends,
    watch_arguments,
    with_cpu,
)
from bench.processes import Child, load, running
from bench.system import System
from bench.wire_format import send_requests
from server.core.config import settings_from_environment

ECHO = "/bare.Bare/Echo"
GET_ME = "/greenroom.auth.v1.AuthService/GetMe"
GET_ME_BYTES = 190
"""About the size of the reply of GetMe, and of what the bare server echoes."""
PAGE_BYTES = 13_000
SENT_BYTES = 200
"""About the size of the reply of SendMessage."""
EVENT_BYTES = 330
BARE_EVENTS = 60_000
"""How many events of that size the bare server writes, one a reply, over all streams of a run."""
IDLE_STREAMS = 2_000
PAGE_CALLS = 400
"""Sends that give every channel a page of messages."""


@contextlib.contextmanager
def _bare(reply_bytes: int, *, tuned: bool = False) -> Iterator[tuple[Child, str]]:
    """A bare server as anybody would write it, or ``tuned`` with what the settings tell gRPC."""
    experiments = settings_from_environment().grpc_experiments if tuned else ""
    with running(
        ["-m", "bench.bare", str(reply_bytes), str(EVENT_BYTES)],
        environ={"GRPC_EXPERIMENTS": experiments},
    ) as child:
        yield child, f"127.0.0.1:{child.line()}"


def _unary(
    name: str,
    path: str,
    reply_bytes: int,
    request: Callable[[System], bytes],
    *,
    tuned: bool = False,
) -> Measure:
    def measure(system: System, target: str, options: Options) -> list[Figure]:
        body = request(system)
        runs: Runs = []

        def flood() -> dict[str, float]:
            return h2load(target, path, body, system.token, options.seconds, IN_FLIGHT)

        # Bare is bare: an echo needs no token. The tuned one is told all that ours is.
        token = system.token if tuned else ""
        with _bare(reply_bytes, tuned=tuned) as (_child, bare):
            for _ in range(options.runs):
                echo = h2load(bare, ECHO, b"", token, options.seconds, IN_FLIGHT)
                run = with_cpu(system.child, lambda: checked(system, path, flood))
                runs.append(beside_bare(run, echo))
        return [figure_of(name, system, target, runs)]

    return measure


def send_message(system: System, target: str, options: Options) -> list[Figure]:
    """Durable sends, 64 in flight, each with its own client id, over four channels."""
    request = next(send_requests(system.channels, TEXT_BYTES)).hex()
    runs = []
    with _bare(SENT_BYTES) as (_child, bare):
        for _ in range(options.runs):
            # The same load program on both sides: h2load cannot give each request an id of its own.
            echo = load(
                "unary",
                target=bare,
                path=ECHO,
                token=system.token,
                body=request,
                seconds=options.seconds,
                in_flight=IN_FLIGHT,
            )
            run = with_cpu(system.child, lambda: sends(system, target, options.seconds))
            runs.append(beside_bare(run, echo))
    return [figure_of("send_message", system, target, runs)]


def _fan_out(subscribers: int) -> Measure:
    def measure(system: System, target: str, options: Options) -> list[Figure]:
        connections = max(4, subscribers // 50)
        arguments = watch_arguments(system, target, subscribers, connections)
        runs = []
        with _bare(SENT_BYTES) as (_child, bare):
            for _ in range(options.runs):
                stream = load(
                    "drain",
                    target=bare,
                    path="/bare.Bare/Stream",
                    body=str(BARE_EVENTS // subscribers).encode().hex(),
                    streams=subscribers,
                    connections=connections,
                )
                with running(arguments) as watchers:
                    come_up(watchers)
                    send = partial(sends, system, target, options.seconds)
                    run = fan_out(system.child, watchers, subscribers, send)
                runs.append(beside_bare(run, stream))
        return [figure_of(f"fanout_{subscribers}", system, target, runs)]

    return measure


def idle_stream(system: System, target: str, options: Options) -> list[Figure]:
    """Server memory for each of many open streams that nothing is sent on."""
    # The first streams pay for what the later ones share.
    arguments = watch_arguments(
        system, target, IDLE_STREAMS, IDLE_STREAMS // 100, system.other_token
    )
    runs = []
    for _ in range(min(2, options.runs)):
        before = system.child.resident_kib()
        with running(arguments) as watchers:
            come_up(watchers)
            time.sleep(1)
            grown = system.child.resident_kib() - before
        runs.append({"kib_per_stream": grown / IDLE_STREAMS})
        time.sleep(1)
    # Memory that was freed is used again, so only the first round tells what a stream costs.
    return [figure_of("idle_stream", system, target, runs[:1])]


def list_messages(system: System, target: str, options: Options) -> list[Figure]:
    """Pages of 50 messages."""
    sends(system, target, options.seconds, calls=PAGE_CALLS)
    measure = _unary(
        "list_messages", LIST_MESSAGES, PAGE_BYTES, lambda _: page_request(system.channels[0])
    )
    return measure(system, target, options)


def _named(name: str, runs: Callable[[System, str, Options], Runs]) -> Measure:
    return lambda system, target, options: [
        figure_of(name, system, target, runs(system, target, options))
    ]


FIGURES: dict[str, Measure] = {
    "idle_stream": idle_stream,
    "get_me": _unary("get_me", GET_ME, GET_ME_BYTES, lambda _system: b""),
    # What is left of gRPC's own throughput when it is told the same as the server's.
    "get_me_beside_tuned": _unary(
        "get_me_beside_tuned", GET_ME, GET_ME_BYTES, lambda _system: b"", tuned=True
    ),
    "send_message": send_message,
    "log_in": _named("log_in", hashing.log_in),
    "get_me_beside_log_ins": _named(
        "get_me_beside_log_ins", partial(hashing.get_me_beside_log_ins, path=GET_ME)
    ),
    "log_in_refused": _named("log_in_refused", hashing.refused_log_in),
    "list_messages": list_messages,
    "fanout_1": _fan_out(1),
    "fanout_100": _fan_out(100),
    "fanout_500": _fan_out(500),
}
