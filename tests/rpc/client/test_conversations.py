"""Conversations of the Python client, against a server that breaks them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_pb2, event_pb2
from greenroom.chat.v1 import event_service_pb2 as pb
from greenroom_client import conversation
from tests.support.unruly import CHANNEL, Connection, message, silence, unruly


def beat(token: str = "t") -> pb.ConnectResponse:  # noqa: S107
    return pb.ConnectResponse(heartbeat=event_pb2.Heartbeat(resume_token=token))


def refused(code: grpc.StatusCode, reason: str) -> pb.ConnectResponse:
    """The result of a subscription that was not made."""
    error = pb.CommandError(code=code.value[0], reason=reason, message="no")
    return pb.ConnectResponse(result=pb.CommandResult(command_id=0, error=error))


def says(*replies: pb.ConnectResponse) -> Connection:
    """A connection that brings these and then nothing."""

    async def connection(requests: Any, context: Any) -> AsyncIterator[Any]:
        for reply in replies:
            yield reply
        async for _ in silence(requests, context):
            yield

    return connection


def deaf(commands: int) -> Connection:
    """A connection that is lost after it took some commands, before it answered any."""

    async def connection(requests: Any, context: Any) -> AsyncIterator[Any]:
        yield beat()
        for _ in range(commands):
            await anext(requests)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    return connection


async def answering(requests: Any, _context: Any) -> AsyncIterator[Any]:
    """A connection that stores every message."""
    yield beat()
    seq = 0
    async for request in requests:
        seq += 1
        stored = channel_pb2.Message(seq=seq, client_id=request.send.client_id)
        result = pb.CommandResult(command_id=request.command_id, message=stored)
        yield pb.ConnectResponse(result=result)


async def test_unanswered_sends_are_repeated_in_their_order() -> None:
    async with unruly() as (server, client, _slept):
        server.streams.extend([deaf(3), deaf(2), answering])
        async with client.converse() as talk, asyncio.timeout(10):
            sent = await asyncio.gather(*(talk.send(CHANNEL, f"m{n}") for n in range(3)))
        assert [stored.seq for stored in sent] == [1, 2, 3]
        ids = [command.send.client_id for command in server.commands]
        assert ids[:3] == ids[-3:] == [stored.client_id for stored in sent]
        assert len(set(ids)) == 3


async def test_a_refused_subscription_ends_it() -> None:
    missing = "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"
    async with unruly() as (server, client, _slept):
        server.streams.append(says(refused(grpc.StatusCode.NOT_FOUND, missing)))
        async with client.converse(channel_ids=[CHANNEL]) as talk, asyncio.timeout(10):
            with pytest.raises(greenroom_client.CommandFailed) as raised:
                async for _event in talk.events():
                    pass
            assert raised.value.reason == missing
            with pytest.raises(greenroom_client.CommandFailed):
                await talk.send(CHANNEL, "hello")


async def test_a_subscription_that_failed_for_now_is_made_again() -> None:
    away = refused(grpc.StatusCode.UNAVAILABLE, "WIRE_ERROR_REASON_DATABASE_UNAVAILABLE")
    async with unruly() as (server, client, slept):
        server.streams.extend([says(away), says(beat())])
        async with client.converse() as talk, asyncio.timeout(10):
            await talk.live.wait()
        assert slept == [0.1]


async def test_a_refused_token_leaves_the_positions() -> None:
    reason = "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID"
    stale = refused(grpc.StatusCode.INVALID_ARGUMENT, reason)
    async with unruly() as (server, client, _slept):
        server.streams.extend([says(stale), says(beat("fresh"))])
        position = channel_pb2.ChannelCursor(channel_id=CHANNEL, epoch=1, seq=4)
        async with client.converse(resume_token="old", cursors=[position]) as talk:
            async with asyncio.timeout(10):
                await talk.live.wait()
            assert talk.resume_token == "fresh"
        assert [request.resume_token for request in server.opened] == ["old", ""]
        position.change = 0
        assert list(server.opened[1].cursors) == [position]


async def test_leaving_answers_whoever_waits() -> None:
    async with unruly() as (server, client, _slept):
        server.streams.append(deaf(2))
        async with asyncio.timeout(10):
            async with client.converse() as talk:
                sending = asyncio.create_task(talk.send(CHANNEL, "hello"))
                reading = asyncio.create_task(_all(talk))
                while not server.commands:
                    await asyncio.sleep(0)
            with pytest.raises(greenroom_client.ConversationClosed):
                await sending
            assert await reading == []
            assert await _all(talk) == []
            with pytest.raises(greenroom_client.ConversationClosed):
                await talk.send(CHANNEL, "again")


async def test_events_that_nobody_reads_hold_the_stream_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "MOST_WAITING", 3)
    replies = [pb.ConnectResponse(events=[message(seq)]) for seq in range(1, 21)]
    async with unruly() as (server, client, _slept):
        server.streams.append(says(beat(), *replies))
        async with client.converse() as talk, asyncio.timeout(10):
            await talk.live.wait()
            for _ in range(5):  # By then all of them would have been read.
                await client.auth.GetMe(auth_pb.GetMeRequest())
            assert talk._inbox.qsize() == 3
            found = []
            async for event in talk.events():
                found.append(event.seq)
                assert talk._inbox.qsize() <= 3
                if len(found) == 20:
                    break
        assert found == list(range(1, 21))


async def _all(talk: greenroom_client.Conversation) -> list[int]:
    return [event.seq async for event in talk.events()]
