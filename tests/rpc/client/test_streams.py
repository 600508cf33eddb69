"""Streams of events of the Python client, against a server that breaks them in every way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from grpc import aio

import greenroom_client
from greenroom.chat.v1 import channel_pb2, event_pb2
from greenroom.chat.v1 import event_service_pb2 as pb
from tests.support.unruly import CHANNEL, STALE, Connection, details, message, unruly


def cursor(seq: int, epoch: int = 1, change: int | None = None) -> channel_pb2.ChannelCursor:
    return channel_pb2.ChannelCursor(channel_id=CHANNEL, epoch=epoch, seq=seq, change=change)


def edits(*changes: int) -> pb.WatchEventsResponse:
    changed = channel_pb2.Message(text="edited")
    return pb.WatchEventsResponse(
        events=[
            event_pb2.ChatEvent(channel_id=CHANNEL, epoch=1, changed=changed, change=change)
            for change in changes
        ]
    )


def events(*seqs: int) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(events=[message(seq) for seq in seqs])


def beat(token: str) -> pb.WatchEventsResponse:
    return pb.WatchEventsResponse(heartbeat=event_pb2.Heartbeat(resume_token=token))


def brings(*replies: pb.WatchEventsResponse) -> Connection:
    """A connection that brings these and is lost."""

    async def connection(_request: Any, context: Any) -> AsyncIterator[Any]:
        for reply in replies:
            yield reply
        await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    return connection


def ends(reason: event_pb2.EndReason, token: str, seconds: float = 0.0) -> Connection:
    """A connection that ends as meant."""

    async def connection(_request: Any, _context: Any) -> AsyncIterator[Any]:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(seconds * 1e9))
        end = event_pb2.End(reason=reason, resume_token=token, retry_delay=delay)
        yield pb.WatchEventsResponse(end=end)

    return connection


def refuses(code: grpc.StatusCode, reason: str, retry_after: float | None = None) -> Connection:
    """A connection that is not let in."""

    async def connection(_request: Any, context: Any) -> AsyncIterator[Any]:
        await context.abort(code, "refused", details(code, reason, retry_after))
        yield

    return connection


async def seqs(stream: greenroom_client.EventStream, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(10):
        async for event in stream:
            found.append(event.seq)
            if len(found) == count:
                break
    return found


async def test_after_a_cut_it_goes_on_where_it_was() -> None:
    async with unruly() as (server, client, slept):
        server.streams.extend(
            [
                brings(beat("t1"), events(1, 2), events(3)),
                brings(),
                brings(events(3, 4), beat("t2")),
                brings(events(5)),
                brings(events(5, 6)),
            ]
        )
        stream = client.watch()
        assert await seqs(stream, 6) == [1, 2, 3, 4, 5, 6]
        asked = [(request.resume_token, list(request.cursors)) for request in server.opened]
        assert asked == [
            ("", []),
            ("t1", [cursor(3)]),
            ("t1", [cursor(3)]),
            ("t2", []),
            ("t2", [cursor(5)]),
        ]
        assert slept == [0.1, 0.2, 0.1, 0.1]


async def test_a_drained_stream_comes_back_when_it_was_told_to() -> None:
    async with unruly() as (server, client, slept):
        server.streams.append(ends(event_pb2.END_REASON_DRAINING, "t9", 3.25))
        server.streams.append(brings(events(10)))
        assert await seqs(client.watch(), 1) == [10]
        assert slept == [3.25]
        assert server.opened[1].resume_token == "t9"


async def test_a_refused_token_leaves_the_positions() -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    async with unruly() as (server, client, _slept):
        server.streams.extend(
            [
                brings(events(1, 2), beat("t1")),
                refuses(invalid, "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID"),
                brings(events(3)),
            ]
        )
        assert await seqs(client.watch(), 3) == [1, 2, 3]
        assert server.opened[2].resume_token == ""
        assert list(server.opened[2].cursors) == [cursor(2, change=0)]


async def test_a_change_is_told_once_and_is_part_of_the_position() -> None:
    async with unruly() as (server, client, _slept):
        server.streams.extend(
            [
                brings(beat("t1"), events(1, 2), edits(5)),
                brings(edits(5, 6), events(3)),
                brings(edits(7)),
            ]
        )
        seen = []
        async for event in client.watch():
            seen.append(event.change or -event.seq)
            if event.change == 7:
                break
        assert seen == [-1, -2, 5, 6, -3, 7]
        assert list(server.opened[1].cursors) == [cursor(2, change=5)]
        assert list(server.opened[2].cursors) == [cursor(3, change=6)]


async def test_a_channel_that_was_left_is_no_part_of_the_position() -> None:
    ended = event_pb2.ChatEvent(channel_id=CHANNEL, epoch=1, ended=event_pb2.MembershipEnded())
    async with unruly() as (server, client, _slept):
        server.streams.append(brings(events(1), pb.WatchEventsResponse(events=[ended])))
        server.streams.append(brings(pb.WatchEventsResponse(events=[message(7, epoch=2)])))
        assert await seqs(client.watch(), 3) == [1, 0, 7]
        assert list(server.opened[1].cursors) == []


async def test_a_gap_is_shown_and_the_stream_goes_on_behind_it() -> None:
    gap = event_pb2.ChatEvent(channel_id=CHANNEL, epoch=2, gap=event_pb2.Gap(first_seq=7))
    async with unruly() as (server, client, _slept):
        server.streams.append(brings(events(40), pb.WatchEventsResponse(events=[gap])))
        server.streams.append(brings(pb.WatchEventsResponse(events=[message(7, epoch=2)])))
        assert await seqs(client.watch(), 3) == [40, 0, 7]
        assert list(server.opened[1].cursors) == [cursor(6, epoch=2)]


async def test_a_stream_that_says_nothing_is_opened_again() -> None:
    async with unruly(silence=0.05) as (server, client, _slept):
        stream = client.watch()
        reading = asyncio.create_task(seqs(stream, 1))
        async with asyncio.timeout(10):
            while not server.opened:
                await asyncio.sleep(0.01)
        server.streams.append(brings(events(1)))
        assert await reading == [1]
        assert stream.connections > 1


async def test_a_busy_server_says_when_to_come_back() -> None:
    async with unruly() as (server, client, slept):
        busy = refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "WIRE_ERROR_REASON_RATE_LIMITED", 0.875)
        server.streams.extend([busy, brings(events(1))])
        assert await seqs(client.watch(), 1) == [1]
        assert slept == [0.875]


async def test_a_long_outage_does_not_make_the_reader_late() -> None:
    async with unruly() as (server, client, slept):
        server.streams.extend([brings()] * 20)
        server.streams.append(brings(events(1)))
        assert await seqs(client.watch(), 1) == [1]
        assert max(slept) == 2.0


async def test_streams_with_one_stale_token_renew_it_once() -> None:
    async with unruly() as (server, client, _slept):
        server.good.clear()
        streams = [client.watch() for _ in range(8)]
        server.streams.extend([brings(events(1))] * 8)
        assert await asyncio.gather(*(seqs(stream, 1) for stream in streams)) == [[1]] * 8
        assert server.refreshed == ["refresh-1"]


async def test_a_refusal_that_comes_late_renews_nothing() -> None:
    async with unruly() as (server, client, _slept):
        renewed = asyncio.Event()

        async def late(request: Any, context: Any) -> AsyncIterator[Any]:
            await renewed.wait()
            async for reply in refuses(grpc.StatusCode.UNAUTHENTICATED, STALE)(request, context):
                yield reply

        server.streams.append(late)
        slow = asyncio.create_task(seqs(client.watch(), 1))
        async with asyncio.timeout(10):
            while not server.opened:
                await asyncio.sleep(0)
        server.streams.append(refuses(grpc.StatusCode.UNAUTHENTICATED, STALE))
        server.streams.append(brings(events(1)))
        assert await seqs(client.watch(), 1) == [1]
        server.streams.append(brings(events(1)))
        renewed.set()
        assert await slow == [1]
        assert server.refreshed == ["refresh-1"]


async def test_tokens_that_are_never_good_end_the_stream() -> None:
    async with unruly() as (server, client, _slept):
        server.streams.extend([refuses(grpc.StatusCode.UNAUTHENTICATED, STALE)] * 9)
        with pytest.raises(aio.AioRpcError) as raised:
            await seqs(client.watch(), 1)
        assert greenroom_client.reason_of(raised.value) == STALE
        assert len(server.refreshed) == 3


async def test_a_session_that_was_ended_ends_the_stream() -> None:
    async with unruly() as (server, client, _slept):
        server.streams.append(ends(event_pb2.END_REASON_SESSION_ENDED, ""))
        server.streams.append(refuses(grpc.StatusCode.UNAUTHENTICATED, STALE))
        invalid = "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID"
        server.failures.append((grpc.StatusCode.UNAUTHENTICATED, invalid))
        with pytest.raises(greenroom_client.SignedOut):
            await seqs(client.watch(), 1)


async def test_what_trying_again_cannot_cure_is_raised() -> None:
    async with unruly() as (server, client, slept):
        missing = "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"
        server.streams.append(refuses(grpc.StatusCode.NOT_FOUND, missing))
        with pytest.raises(aio.AioRpcError) as raised:
            await seqs(client.watch(channel_ids=[CHANNEL]), 1)
        assert greenroom_client.reason_of(raised.value) == missing
        assert slept == []
