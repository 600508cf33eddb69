"""The load programs and the filling do to the measured server what they say. Nothing looks at a clock."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import grpc
import psycopg2
import pytest

from bench.filling import fill_messages, fill_rooms, settle
from bench.hashing import LOG_IN, requests
from bench.measuring import (
    WATCH_EVENTS,
    come_up,
    converses,
    fan_out,
    page_request,
    sends,
    watch_arguments,
)
from bench.processes import load, load_arguments, running
from bench.system import GUESTS, System, database, served
from greenroom.chat.v1 import message_service_pb2 as message_pb
from greenroom.chat.v1 import message_service_pb2_grpc as message_grpc
from server.core.engine import sqlite_path
from tests.support.databases import require

LIVE = "bench.live_load"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    require(request.param)
    cheap = {"BCRYPT_COST": "4", "SESSION_LIMIT": "1"}
    with (
        database(request.param) as url,
        served(request.param, url, guests=GUESTS, **cheap) as started,
    ):
        yield started


def live(program: str, system: System, **options: Any) -> dict[str, Any]:
    return load(program, module=LIVE, target=system.target, token=system.token, **options)


def page(
    system: System, member: int, channel: str, before: int = 0
) -> message_pb.ListMessagesResponse:
    request = message_pb.ListMessagesRequest.FromString(page_request(channel, before))
    with grpc.insecure_channel(system.target) as to:
        authorization = ("authorization", f"Bearer {system.people[member][1]}")
        return message_grpc.MessageServiceStub(to).ListMessages(request, metadata=[authorization])


def rows(system: System, query: str) -> list[tuple[Any, ...]]:
    if system.db == "sqlite":
        with closing(sqlite3.connect(sqlite_path(system.database_url))) as file:
            return file.execute(query).fetchall()
    with closing(psycopg2.connect(system.database_url)) as connection:
        cursor = connection.cursor()
        cursor.execute(query)
        return cursor.fetchall()


@pytest.mark.parametrize("send", [sends, converses])
def test_a_fan_out_counts_every_delivery(system: System, send: Callable[..., Any]) -> None:
    with running(watch_arguments(system, system.target, 5, 2)) as watchers:
        come_up(watchers)
        done = fan_out(system.child, watchers, 5, partial(send, system, system.target, 0.2))
    assert done["per_second"] > 0
    assert done["events_per_reply"] >= 1


def test_a_filled_channel_reads_like_any_other(system: System) -> None:
    (channel,) = fill_rooms(system, 1)
    fill_messages(system, channel, 120)
    settle(system)
    newest = page(system, 2, channel)
    assert [message.seq for message in newest.messages] == list(range(120, 70, -1))
    assert newest.cursor.seq == 120
    oldest = page(system, 2, channel, 51)
    assert [message.seq for message in oldest.messages] == list(range(50, 0, -1))
    assert {message.sender_id for message in oldest.messages} == {system.people[0][0]}
    sends(system, system.target, 5, channel=[channel], calls=10)
    assert page(system, 2, channel).cursor.seq == 130


def test_a_resumed_stream_has_every_message_once(system: System) -> None:
    channel = system.channels[3]
    token = live("token", system, channel=channel)["resume_token"]
    sends(system, system.target, 30, channel=[channel], calls=300)
    assert live("resume", system, channel=channel, resume_token=token, calls=300)["seconds"] > 0
    with pytest.raises(RuntimeError, match="process ended"):
        live("resume", system, channel=channel, resume_token=token, calls=301)


def test_everybody_in_a_room_hears_each_message_once(system: System) -> None:
    rooms = fill_rooms(system, 3)
    members = rows(system, "SELECT channel_id, user_id FROM chat_members")
    assert {(room, user_id) for room in rooms for user_id, _token in system.people} <= set(members)
    arguments = load_arguments(
        "listen",
        module=LIVE,
        target=system.target,
        token=[token for _user_id, token in system.people],
        channel=rooms,
    )
    with running(arguments) as listeners:
        come_up(listeners)
        sent = live("pace", system, channel=rooms, rate=60, seconds=0.5)
        assert sent["calls"] == 30
        listeners.say(str(30 * len(system.people)))
        heard = json.loads(listeners.line())
    assert heard["events"] == 30 * len(system.people)
    assert 0 < heard["p50_ms"] <= heard["p99_ms"] <= heard["most_ms"]


def test_idle_streams_count_their_heartbeats(system: System) -> None:
    """A beat that has not come is late by as much as it is: here all are, as they were due before."""
    arguments = load_arguments(
        "idle",
        module=LIVE,
        target=system.target,
        token=system.people[2][1],
        streams=12,
        seconds=-1,
    )
    with running(arguments) as idlers:
        come_up(idlers)
        idlers.say()
        beats = json.loads(idlers.line())
    assert beats["beats"] >= 12
    assert beats["p50_ms"] > 1000


def test_log_ins_end_no_session_that_is_called_with(system: System) -> None:
    before = system.served(LOG_IN)
    load("unary", target=system.target, path=LOG_IN, body=requests(), seconds=0.5, in_flight=2)
    assert system.served(LOG_IN) - before > GUESTS
    for member in range(len(system.channels) + 1):
        page(system, member, system.channels[max(0, member - 1)])


def test_a_stranger_cannot_watch(system: System) -> None:
    arguments = load_arguments(
        "watch", target=system.target, path=WATCH_EVENTS, token="nonsense", streams=2
    )
    with running(arguments) as watchers, pytest.raises(RuntimeError, match="process ended"):
        come_up(watchers)
