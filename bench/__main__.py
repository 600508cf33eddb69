"""``make bench``: the figures of one server process beside a bare server measured in the same run.

``--db``, ``--figure`` and ``--path`` narrow it down, ``--runs`` and ``--seconds`` shorten it, and
BENCH_JSON=file writes JSON lines. Ratios and CPU per call hold from machine to machine; the rest does not.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench import hashing
from bench.envoy import in_front_of
from bench.figures import Figure, middle, table, write_json
from bench.h2load import h2load
from bench.processes import Child, load, load_arguments, running, wait_until
from bench.system import System, served
from bench.wire_format import send_requests
from greenroom.chat.v1 import message_service_pb2

GET_ME = "/greenroom.auth.v1.AuthService/GetMe"
LIST_MESSAGES = "/greenroom.chat.v1.MessageService/ListMessages"
SEND_MESSAGE = "/greenroom.chat.v1.MessageService/SendMessage"
WATCH_EVENTS = "/greenroom.chat.v1.EventService/WatchEvents"
GET_ME_BYTES = 190
"""About the size of the reply of GetMe, and of what the bare server echoes."""
PAGE_BYTES = 13_000
SENT_BYTES = 200
"""About the size of the reply of SendMessage."""
SENT_TEXT_BYTES = 100
EVENT_BYTES = 330
BARE_EVENTS = 60_000
"""How many events of that size the bare server writes, one a reply, over all streams of a run."""
IN_FLIGHT = 64
IDLE_STREAMS = 2_000

Options = argparse.Namespace
Measure = Callable[[System, str, Options], list[Figure]]


def _timed(child: Child, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a load run, with the server's CPU for each call."""
    before = child.cpu_seconds()
    figures = run()
    figures["cpu_us_per_call"] = (child.cpu_seconds() - before) / max(1, figures["calls"]) * 1e6
    return figures


@contextlib.contextmanager
def _bare(reply_bytes: int) -> Iterator[tuple[Child, str]]:
    with running(["-m", "bench.bare", str(reply_bytes), str(EVENT_BYTES)]) as child:
        yield child, f"127.0.0.1:{child.line()}"


def _unary(name: str, path: str, reply_bytes: int, request: Callable[[System], bytes]) -> Measure:
    def measure(system: System, target: str, options: Options) -> list[Figure]:
        body = request(system)
        runs: list[dict[str, Any]] = []
        with _bare(reply_bytes) as (_child, bare):
            for _ in range(options.runs):
                echo = h2load(bare, "/bare.Bare/Echo", b"", "", options.seconds, IN_FLIGHT)
                counted = system.served(path)
                run = _timed(
                    system.child,
                    lambda: h2load(target, path, body, system.token, options.seconds, IN_FLIGHT),
                )
                really = system.served(path) - counted
                if really < run["calls"]:
                    raise RuntimeError(f"{name}: {run['calls']} replies, but {really:.0f} were OK")
                runs.append(_beside(run, echo))
        return [_figure(name, system, target, runs)]

    return measure


def send_message(system: System, target: str, options: Options) -> list[Figure]:
    """Durable sends, 64 in flight, each with its own client id, over four channels."""
    request = next(send_requests(system.channels, SENT_TEXT_BYTES)).hex()
    runs = []
    with _bare(SENT_BYTES) as (_child, bare):
        for _ in range(options.runs):
            # The same load program on both sides: h2load cannot give each request an id of its own.
            echo = load(
                "unary",
                target=bare,
                path="/bare.Bare/Echo",
                body=request,
                seconds=options.seconds,
                in_flight=IN_FLIGHT,
            )
            run = _timed(system.child, lambda: _sends(system, target, options))
            runs.append(_beside(run, echo))
    return [_figure("send_message", system, target, runs)]


def _beside(run: dict[str, Any], bare: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run with those of the bare server just before it."""
    return {
        **run,
        "bare_per_second": bare["per_second"],
        "ratio_to_bare": run["per_second"] / bare["per_second"],
    }


def _sends(system: System, target: str, options: Options) -> dict[str, Any]:
    counted = system.served(SEND_MESSAGE)
    sent = load(
        "send",
        target=target,
        path=SEND_MESSAGE,
        token=system.token,
        seconds=options.seconds,
        in_flight=IN_FLIGHT,
        channel=system.channels,
    )
    really = system.served(SEND_MESSAGE) - counted
    if really < sent["calls"]:
        raise RuntimeError(f"send_message: {sent['calls']} replies, but {really:.0f} were OK")
    return sent


def _fan_out(subscribers: int) -> Measure:
    def measure(system: System, target: str, options: Options) -> list[Figure]:
        arguments = load_arguments(
            "watch",
            target=target,
            path=WATCH_EVENTS,
            token=system.token,
            streams=subscribers,
            connections=max(4, subscribers // 50),
        )
        runs = []
        with _bare(SENT_BYTES) as (_child, bare):
            for _ in range(options.runs):
                stream = load(
                    "drain",
                    target=bare,
                    path="/bare.Bare/Stream",
                    body=str(BARE_EVENTS // subscribers).encode().hex(),
                    streams=subscribers,
                    connections=max(4, subscribers // 50),
                )
                with running(arguments) as watchers:
                    if watchers.line() != "ready":
                        raise RuntimeError("the watchers did not come up")
                    runs.append(_beside(_one_fan_out(system, target, options, watchers), stream))
        return [_figure(f"fanout_{subscribers}", system, target, runs)]

    return measure


def _one_fan_out(system: System, target: str, options: Options, watchers: Child) -> dict[str, Any]:
    before = system.child.cpu_seconds()
    watchers.say()
    sent = _sends(system, target, options)
    watchers.say()
    counted: dict[str, Any] = json.loads(watchers.line())
    cpu = system.child.cpu_seconds() - before
    return {
        "per_second": counted["per_second"],
        "p50_ms": sent["p50_ms"],
        "p99_ms": sent["p99_ms"],
        "cpu_us_per_call": cpu / max(1, counted["events"]) * 1e6,
    }


def idle_stream(system: System, target: str, options: Options) -> list[Figure]:
    """Server memory for each of many open streams that nothing is sent on."""
    # The first streams pay for what the later ones share.
    arguments = load_arguments(
        "watch",
        target=target,
        path=WATCH_EVENTS,
        token=system.other_token,
        streams=IDLE_STREAMS,
        connections=IDLE_STREAMS // 100,
    )
    runs = []
    for _ in range(min(2, options.runs)):
        before = system.child.resident_kib()
        with running(arguments) as watchers:
            if watchers.line() != "ready":
                raise RuntimeError("the watchers did not come up")
            time.sleep(1)
            grown = system.child.resident_kib() - before
        runs.append({"kib_per_stream": grown / IDLE_STREAMS})
        time.sleep(1)
    # Memory that was freed is used again, so only the first round tells what a stream costs.
    return [_figure("idle_stream", system, target, runs[:1])]


def _figure(name: str, system: System, target: str, runs: list[dict[str, Any]]) -> Figure:
    values = middle(runs)
    known = {key: values[key] for key in Figure.__dataclass_fields__ if key in values}
    known.pop("runs", None)
    path = "envoy" if target == system.envoy else "direct"
    return Figure(name, system.db, path, runs=len(runs), **known)


def _page_request(system: System) -> bytes:
    return message_service_pb2.ListMessagesRequest(
        channel_id=system.channels[0], page_size=50
    ).SerializeToString()


def _named(name: str, runs: Callable[[System, str, Options], list[dict[str, Any]]]) -> Measure:
    return lambda system, target, options: [
        _figure(name, system, target, runs(system, target, options))
    ]


FIGURES: dict[str, Measure] = {
    "idle_stream": idle_stream,
    "get_me": _unary("get_me", GET_ME, GET_ME_BYTES, lambda _system: b""),
    "send_message": send_message,
    "log_in": _named("log_in", hashing.log_in),
    "get_me_beside_log_ins": _named(
        "get_me_beside_log_ins", partial(hashing.get_me_beside_log_ins, path=GET_ME)
    ),
    "log_in_refused": _named("log_in_refused", hashing.refused_log_in),
    "list_messages": _unary("list_messages", LIST_MESSAGES, PAGE_BYTES, _page_request),
    "fanout_1": _fan_out(1),
    "fanout_100": _fan_out(100),
    "fanout_500": _fan_out(500),
}


@contextlib.contextmanager
def _database(db: str) -> Iterator[str]:
    if db == "sqlite":
        yield ""
        return
    from tests.support.databases import drop_database, fresh_database

    url = fresh_database("postgresql", migrated=False)
    try:
        yield url
    finally:
        drop_database(url)


def main() -> None:
    """Measures what was asked for and prints it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--db", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--figure", action="append", choices=list(FIGURES))
    parser.add_argument("--path", action="append", choices=["direct", "envoy"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    figures: list[Figure] = []
    for db in options.db or ["sqlite", "postgresql"]:
        with _database(db) as url, served(db, url) as system, in_front_of(system):
            for path in options.path or ["direct", "envoy"]:
                target = system.target if path == "direct" else system.envoy
                for name in options.figure or FIGURES:
                    figures += FIGURES[name](system, target, options)
                    print(table(figures[-1:]).splitlines()[1], flush=True)
                    wait_until(lambda: _quiet(system), 10, "the server to come to rest")
    print("\n" + table(figures))
    if out := os.environ.get("BENCH_JSON"):
        write_json(figures, Path(out))


def _quiet(system: System) -> bool:
    before = system.child.cpu_seconds()
    time.sleep(0.2)
    return system.child.cpu_seconds() - before < 0.05


if __name__ == "__main__":
    main()
