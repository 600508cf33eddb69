"""What the figures have in common: paths, sizes, and one run of sends or of a fan-out."""

import argparse
import json
from collections.abc import Callable
from typing import Any

from bench.figures import Figure, Goal, Runs, figure
from bench.processes import Child, load, load_arguments
from bench.system import System
from greenroom.chat.v1 import event_service_pb2, message_service_pb2

CONNECT = "/greenroom.chat.v1.EventService/Connect"
LIST_MESSAGES = "/greenroom.chat.v1.MessageService/ListMessages"
SEND_MESSAGE = "/greenroom.chat.v1.MessageService/SendMessage"
SYNC_CHANNELS = "/greenroom.chat.v1.SyncService/SyncChannels"
WATCH_EVENTS = "/greenroom.chat.v1.EventService/WatchEvents"
TEXT_BYTES = 100
"""Of each message."""
IN_FLIGHT = 64

Options = argparse.Namespace
Measure = Callable[[System, str, Options], list[Figure]]

DIRECT_GOALS = {
    "get_me": Goal("ratio_to_bare", least=0.7),
    "send_message": Goal("per_second", least=3500),
    "fanout_100": Goal("per_second", least=250_000),
    "idle_stream": Goal("kib_per_stream", most=60),
    "log_in": Goal("ratio_to_bare", least=0.9),
    "get_me_beside_log_ins": Goal("ratio_to_bare", least=0.5),
    "log_in_refused": Goal("p99_ms", most=50),
}
"""Of a server by itself: Envoy takes its share of the same cores."""
GOALS = {
    "fanout_beside_socketio": Goal("ratio_to_peer", least=2),
    "send_beside_express": Goal("ratio_to_peer", least=2),
    "list_beside_express": Goal("ratio_to_peer", least=3),
    "rooms_latency": Goal("p99_ms", most=50),
    "resume_10000": Goal("seconds", most=1),
    "idle_5000": Goal("kib_per_stream", most=60),
    "idle_5000_heartbeats": Goal("p99_ms", most=1000),
    "idle_5000_send": Goal("p99_ms", most=50),
    "list_growth": Goal("growth", most=1.2),
    "sync_growth": Goal("growth", most=1.2),
}


def figure_of(name: str, system: System, target: str, runs: Runs, **more: str) -> Figure:
    """The medians of some runs on a path of a system."""
    path = "envoy" if target == system.envoy else "direct"
    goals = {**GOALS, **DIRECT_GOALS} if path == "direct" else GOALS
    return figure(name, system.db, path, runs, goals, **more)


def with_cpu(child: Child, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a load run, with the server's CPU for each call."""
    before = child.cpu_seconds()
    figures = run()
    figures["cpu_us_per_call"] = (child.cpu_seconds() - before) / max(1, figures["calls"]) * 1e6
    return figures


def beside_bare(run: dict[str, Any], bare: dict[str, Any]) -> dict[str, Any]:
    """The figures of a run with those of the bare server just before it."""
    return {
        **run,
        "bare_per_second": bare["per_second"],
        "ratio_to_bare": run["per_second"] / bare["per_second"],
    }


def sends(system: System, target: str, seconds: float, **more: Any) -> dict[str, Any]:
    """Durable sends, 64 in flight, each with its own client id, over all channels."""
    options = {"in_flight": IN_FLIGHT, "channel": system.channels, "text_bytes": TEXT_BYTES, **more}
    return checked(
        system,
        SEND_MESSAGE,
        lambda: load(
            "send",
            target=target,
            path=SEND_MESSAGE,
            token=system.token,
            seconds=seconds,
            **options,
        ),
    )


def converses(system: System, target: str, seconds: float) -> dict[str, Any]:
    """The same over four streams of Connect, where each result is looked at as it comes."""
    return load(
        "converse",
        target=target,
        path=CONNECT,
        token=system.token,
        seconds=seconds,
        in_flight=IN_FLIGHT,
        channel=system.channels,
        text_bytes=TEXT_BYTES,
    )


def checked(system: System, path: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A load run of which the server itself says that all calls were good."""
    counted = system.served(path)
    figures = run()
    really = system.served(path) - counted
    if really < figures["calls"]:
        raise RuntimeError(f"{path}: {figures['calls']} replies, but {really:.0f} were OK")
    return figures


def watch_arguments(
    system: System, target: str, streams: int, connections: int, token: str = ""
) -> list[str]:
    """The command line of subscribers to all channels of somebody, of the system's first person
    unless said otherwise."""
    return load_arguments(
        "watch",
        target=target,
        path=WATCH_EVENTS,
        token=token or system.token,
        streams=streams,
        connections=connections,
    )


def come_up(watchers: Child) -> None:
    """Waits until all subscribers have caught up."""
    if watchers.line() != "ready":
        raise RuntimeError("the watchers did not come up")


def fan_out(
    server: Child, watchers: Child, subscribers: int, send: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The deliveries of a run of sends, of which not one may be missing, with the sends' latency."""
    before = server.cpu_seconds()
    watchers.say()
    sent = send()
    watchers.say(str(sent["calls"] * subscribers))
    counted: dict[str, Any] = json.loads(watchers.line())
    cpu = server.cpu_seconds() - before
    return {
        "per_second": counted["per_second"],
        "events_per_reply": counted["events_per_reply"],
        "client_cores": counted["client_cores"] + sent["client_cores"],
        "p50_ms": sent["p50_ms"],
        "p99_ms": sent["p99_ms"],
        "cpu_us_per_call": cpu / max(1, counted["events"]) * 1e6,
    }


def page_request(channel_id: str, before_seq: int = 0) -> bytes:
    """Asks for a page of 50 messages."""
    return message_service_pb2.ListMessagesRequest(
        channel_id=channel_id, page_size=50, before_seq=before_seq
    ).SerializeToString()


def watch_request(channel_id: str = "", resume_token: str = "") -> bytes:
    """Asks for the events of one channel, or of all of the caller's."""
    return event_service_pb2.WatchEventsRequest(
        channel_ids=[channel_id] * bool(channel_id), resume_token=resume_token
    ).SerializeToString()
