"""The Python client against the real server: sessions that renew, streams that resume."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import session_service_pb2 as session_pb
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import message_service_pb2 as message_pb
from greenroom_client.calls import Rhythm
from greenroom_client.tokens import tokens_from_pb
from tests.support.serve import PASSWORD


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def pair(server: Any) -> AsyncIterator[tuple[Any, Any, str]]:
    """Two signed-in clients and the channel between them."""
    ada, bob = await server.person("Ada"), await server.person("Bob")
    rhythm = Rhythm(sleep=no_sleep)
    now = lambda: server.clock.now().timestamp()  # noqa: E731
    async with (
        greenroom_client.connect(server.address, now=now, rhythm=rhythm) as first,
        greenroom_client.connect(server.address, now=now, rhythm=rhythm) as second,
    ):
        await first.log_in(email=ada.email, password=PASSWORD)
        await second.log_in(email=bob.email, password=PASSWORD)
        reply = await first.channels.GetDirectChannel(
            channel_pb.GetDirectChannelRequest(user_id=bob.id)
        )
        yield first, second, reply.channel.id


async def say(client: Any, channel_id: str, text: str) -> None:
    await client.messages.SendMessage(
        message_pb.SendMessageRequest(channel_id=channel_id, client_id=text, text=text)
    )


async def texts(events: Any, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(20):
        async for event in events:
            if event.HasField("message"):
                found.append(event.message.text)
                if len(found) == count:
                    break
    return found


async def test_tokens_are_renewed_once_for_all_who_call(server: Any, pair: Any) -> None:
    first, _second, _channel_id = pair
    before = first.keeper.tokens
    server.clock.advance(890)
    await asyncio.gather(*(first.auth.GetMe(auth_pb.GetMeRequest()) for _ in range(20)))
    after = first.keeper.tokens
    assert after != before
    sessions = await first.sessions.ListSessions(session_pb.ListSessionsRequest())
    assert any(session.current for session in sessions.sessions)


async def test_signed_out_when_the_session_was_ended(server: Any, pair: Any) -> None:
    first, _second, _channel_id = pair
    await first.auth.LogOut(auth_pb.LogOutRequest())
    with pytest.raises(greenroom_client.SignedOut):
        await first.auth.GetMe(auth_pb.GetMeRequest())
    assert not first.is_signed_in


async def test_reason_and_fields_of_an_error(pair: Any) -> None:
    first, _second, _channel_id = pair
    with pytest.raises(aio.AioRpcError) as raised:
        await first.channels.GetDirectChannel(channel_pb.GetDirectChannelRequest(user_id="x"))
    assert greenroom_client.reason_of(raised.value) == "WIRE_ERROR_REASON_INVALID_FIELD"
    assert list(greenroom_client.violations_of(raised.value)) == ["user_id"]
    assert greenroom_client.request_id_of(raised.value)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_all_pages(pair: Any) -> None:
    first, _second, channel_id = pair
    for number in range(7):
        await say(first, channel_id, f"m{number}")
    request = message_pb.ListMessagesRequest(channel_id=channel_id, page_size=3)
    found = [
        message.seq
        async for message in greenroom_client.items(first.messages.ListMessages, request)
    ]
    assert found == [7, 6, 5, 4, 3, 2, 1]
    assert (
        len([page async for page in greenroom_client.pages(first.messages.ListMessages, request)])
        == 3
    )


async def test_a_stream_that_is_cut_loses_and_doubles_nothing(pair: Any) -> None:
    first, second, channel_id = pair
    stream = second.watch()
    reading = asyncio.ensure_future(texts(stream, 60))
    async with asyncio.timeout(10):
        await stream.live.wait()
    for number in range(60):
        await say(first, channel_id, f"m{number}")
        if number % 10 == 5:
            stream.cut()
    assert await reading == [f"m{number}" for number in range(60)]
    assert stream.connections > 3


async def test_another_process_goes_on_where_one_stopped(pair: Any) -> None:
    first, second, channel_id = pair
    stream = second.watch()
    reading = asyncio.ensure_future(texts(stream, 1))
    async with asyncio.timeout(10):
        await stream.live.wait()
    await say(first, channel_id, "a")
    await reading
    stream.cut()
    await say(first, channel_id, "b")
    resumed = second.watch(resume_token=stream.resume_token, cursors=stream.cursors)
    assert await texts(resumed, 1) == ["b"]


async def test_a_conversation_sends_and_receives_over_cuts(pair: Any) -> None:
    first, second, channel_id = pair
    async with first.converse() as mine, second.converse() as theirs:
        async with asyncio.timeout(10):
            await mine.live.wait()
            await theirs.live.wait()
        reading = asyncio.ensure_future(texts(theirs.events(), 20))
        for number in range(20):
            sending = asyncio.ensure_future(mine.send(channel_id, f"m{number}"))
            if number % 7 == 3:
                mine.cut()
                theirs.cut()
            message = await sending
            assert message.seq == number + 1
        assert await reading == [f"m{number}" for number in range(20)]
        await theirs.mark_read(channel_id, 20)
        async with asyncio.timeout(10):
            async for event in mine.events():
                if event.HasField("read"):
                    assert event.read == event_pb2.ReadMark(user_id=event.read.user_id, seq=20)
                    break
        with pytest.raises(greenroom_client.CommandFailed) as refused:
            await mine.mark_read(channel_id, 99)
        assert refused.value.reason == "CHAT_ERROR_REASON_SEQ_AHEAD"


async def test_a_conversation_in_a_channel_of_others_says_so(pair: Any) -> None:
    first, _second, _channel_id = pair
    async with first.converse(channel_ids=[str(uuid4())]) as talk, asyncio.timeout(10):
        with pytest.raises(greenroom_client.CommandFailed) as refused:
            async for _event in talk.events():
                pass
    assert refused.value.reason == "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"


async def test_a_channel_that_was_made_while_the_stream_was_cut(server: Any, pair: Any) -> None:
    _first, second, channel_id = pair
    carol = await server.person("Carol")
    me = await second.auth.GetMe(auth_pb.GetMeRequest())
    async with greenroom_client.connect(server.address) as third:
        third.keeper.keep(tokens_from_pb(carol.tokens.tokens))
        stream = second.watch()
        reading = asyncio.ensure_future(texts(stream, 3))
        async with asyncio.timeout(10):
            await stream.live.wait()
        await say(second, channel_id, "before")
        opened = stream.connections
        stream.cut()
        reply = await third.channels.GetDirectChannel(
            channel_pb.GetDirectChannelRequest(user_id=me.user.id)
        )
        await say(third, reply.channel.id, "new 1")
        await say(third, reply.channel.id, "new 2")
        assert sorted(await reading) == ["before", "new 1", "new 2"]
        assert stream.connections > opened
