"""What a read costs in a channel of a thousand messages and in one of a million."""

from collections.abc import Callable
from importlib import import_module
from statistics import median
from typing import Any

import grpc

from bench.figures import Figure, Runs, Skipped
from bench.filling import fill_messages, settle
from bench.measuring import (
    LIST_MESSAGES,
    SYNC_CHANNELS,
    Options,
    checked,
    figure_of,
    page_request,
    sends,
)
from bench.processes import load
from bench.system import System, database, served

SMALL, LARGE = 1_000, 1_000_000
PAGES = 100
"""Different pages that are asked for in turn, spread over the whole channel."""
CHANGES = 50
"""Messages that a client has missed when it synchronizes."""
SECONDS = 2.0


def _growth(name: str, system: System, path: str, bodies: list[list[str]]) -> Figure:
    """Calls by a member of the small channel alone and by one of the large one alone, in turn.

    One call at a time, because that time is the whole cost: the server's and the database's.
    """
    runs: Runs = []
    for _ in range(3):
        small, large = (
            checked(system, path, lambda member=member: _calls(system, path, member, bodies))  # type: ignore[misc]
            for member in (1, 2)
        )
        runs.append(
            {**large, "growth": large["p50_ms"] / small["p50_ms"], "small": small["p50_ms"]}
        )
    note = f"p50 at {SMALL:,} messages {median(run['small'] for run in runs):.2f} ms"
    return figure_of(name, system, system.target, runs, note=note)


def _calls(system: System, path: str, member: int, bodies: list[list[str]]) -> dict[str, Any]:
    return load(
        "unary",
        target=system.target,
        path=path,
        token=system.people[member][1],
        body=bodies[member - 1],
        seconds=SECONDS,
        in_flight=1,
    )


def _filled(system: System) -> None:
    for channel, count in zip(system.channels, (SMALL, LARGE), strict=False):
        fill_messages(system, channel, count)
    settle(system)


def list_growth(db: str, _options: Options) -> list[Figure]:
    """Pages of 50 messages from all over the channel."""
    with database(db) as url, served(db, url) as system:
        _filled(system)
        bodies = [
            [page_request(channel, (i + 1) * count // PAGES).hex() for i in range(PAGES)]
            for channel, count in zip(system.channels, (SMALL, LARGE), strict=False)
        ]
        return [_growth("list_growth", system, LIST_MESSAGES, bodies)]


def sync_growth(db: str, _options: Options) -> list[Figure]:
    """What was missed since a token: 50 messages, in a small and in a large channel."""
    try:
        messages: Any = import_module("greenroom.chat.v1.sync_service_pb2")
        stubs: Any = import_module("greenroom.chat.v1.sync_service_pb2_grpc")
    except ModuleNotFoundError:
        raise Skipped("this server has no SyncChannels yet") from None
    with database(db) as url, served(db, url) as system, grpc.insecure_channel(system.target) as to:
        _filled(system)
        stub = stubs.SyncServiceStub(to)

        def level(token: str) -> str:
            """The sync token of a client that has everything."""
            request = messages.SyncChannelsRequest()
            while True:
                reply = stub.SyncChannels(request, metadata=[("authorization", f"Bearer {token}")])
                request.sync_token = reply.next_sync_token
                if not reply.has_more:
                    return str(reply.next_sync_token)

        tokens = [level(system.people[member][1]) for member in (1, 2)]
        # The members of both channels miss the same number of messages.
        sends(system, system.target, 60, channel=system.channels[:2], calls=2 * CHANGES)
        bodies = [
            [messages.SyncChannelsRequest(sync_token=token).SerializeToString().hex()]
            for token in tokens
        ]
        return [_growth("sync_growth", system, SYNC_CHANNELS, bodies)]


OWN: dict[str, Callable[[str, Options], list[Figure]]] = {
    "list_growth": list_growth,
    "sync_growth": sync_growth,
}
