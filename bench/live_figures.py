"""Live streams: latency in rooms, resuming after a cut, thousands that idle."""

import json
import resource
from collections.abc import Callable
from typing import Any

from bench.figures import Figure, Runs, Skipped
from bench.filling import fill_rooms
from bench.measuring import IN_FLIGHT, Measure, Options, come_up, figure_of, sends
from bench.processes import load, load_arguments, running
from bench.system import System, database, served

ROOMS = 50
MEMBERS = 20
PEAK_SECONDS = 2.0
PACE_SECONDS = 5.0
MISSED = 10_000
IDLE = 5_000
BEAT_SECONDS = 5.0
IDLE_SECONDS = 2 * BEAT_SECONDS + 1
QUIET_RATE = 100.0
LOAD = "bench.live_load"


def rooms_latency(db: str, options: Options) -> list[Figure]:
    """From send to receipt, 50 rooms of 20 members with a stream each, at half the peak rate."""
    runs: Runs = []
    notes = []
    # Twenty real people sign in; what a password costs is another figure.
    with database(db) as url, served(db, url, people=MEMBERS, BCRYPT_COST="4") as system:
        rooms = fill_rooms(system, ROOMS)
        tokens = [token for _user_id, token in system.people]
        arguments = load_arguments(
            "listen", module=LOAD, target=system.target, token=tokens, channel=rooms
        )
        for _ in range(min(3, options.runs)):
            with running(arguments) as listeners:
                come_up(listeners)
                peak = sends(system, system.target, PEAK_SECONDS, channel=rooms)
                sent = load(
                    "pace",
                    module=LOAD,
                    target=system.target,
                    token=system.token,
                    channel=rooms,
                    rate=peak["per_second"] / 2,
                    seconds=PACE_SECONDS,
                )
                listeners.say(str(sent["calls"] * MEMBERS))
                heard = json.loads(listeners.line())
            runs.append({**heard, "per_second": sent["per_second"]})
            notes.append(f"{heard['most_ms']:.0f} ms of {peak['per_second']:,.0f}/s")
        note = f"{MEMBERS * ROOMS} streams; the slowest and the peak of each run {', '.join(notes)}"
        return [figure_of("rooms_latency", system, system.target, runs, note=note)]


def resume(system: System, target: str, options: Options) -> list[Figure]:
    """A stream that comes back after 10,000 messages, from the connecting to its being level."""
    channel = system.channels[3]
    common: dict[str, Any] = {
        "module": LOAD,
        "target": target,
        "token": system.token,
        "channel": channel,
    }
    runs: Runs = []
    for _ in range(min(3, options.runs)):
        token = load("token", **common)["resume_token"]
        sends(system, target, 60, channel=[channel], calls=MISSED, in_flight=2 * IN_FLIGHT)
        runs.append(load("resume", **common, resume_token=token, calls=MISSED))
    return [figure_of("resume_10000", system, target, runs)]


def idle(db: str, _options: Options) -> list[Figure]:
    """5,000 streams on connections of their own: memory, heartbeats, and sends beside them."""
    _raise_file_limit(IDLE + 1_000)
    beat = f"{BEAT_SECONDS:g}"
    with database(db) as url, served(db, url, STREAM_HEARTBEAT_SECONDS=beat) as system:
        arguments = load_arguments(
            "idle",
            module=LOAD,
            target=system.target,
            # Of the streams of this person none is told of the sends: they go to another channel.
            token=system.people[2][1],
            streams=IDLE,
            seconds=BEAT_SECONDS,
        )

        def steady(seconds: float) -> dict[str, Any]:
            return load(
                "pace",
                module=LOAD,
                target=system.target,
                token=system.token,
                channel=system.channels[0],
                rate=QUIET_RATE,
                seconds=seconds,
            )

        alone = steady(BEAT_SECONDS)
        before = system.child.resident_kib()
        with running(arguments) as idlers:
            come_up(idlers)
            beside = steady(IDLE_SECONDS)
            grown = system.child.resident_kib() - before
            idlers.say()
            beats = json.loads(idlers.line())
        return _idle_figures(system, grown / IDLE, beats, beside, alone)


def _idle_figures(
    system: System,
    kib: float,
    beats: dict[str, Any],
    beside: dict[str, Any],
    alone: dict[str, Any],
) -> list[Figure]:
    def made(name: str, values: dict[str, Any], note: str) -> Figure:
        return figure_of(name, system, system.target, [values], note=note)

    told = (
        f"{beats['beats']:,} beats, each a stream's own every {BEAT_SECONDS:g} s;"
        f" ms late, at most {beats['most_ms']:.0f}"
    )
    return [
        made("idle_5000", {"kib_per_stream": kib}, "a connection each, after its heartbeats"),
        made("idle_5000_heartbeats", beats, told),
        made("idle_5000_send", beside, f"p99 without the streams {alone['p99_ms']:.1f} ms"),
    ]


def _raise_file_limit(wanted: int) -> None:
    """For this process and all that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise Skipped(f"a process may open {hard} files, {wanted} are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


SHARED: dict[str, Measure] = {"resume_10000": resume}
OWN: dict[str, Callable[[str, Options], list[Figure]]] = {
    "rooms_latency": rooms_latency,
    "idle_5000": idle,
}
