"""The outbox of the Python client, against a server that misbehaves and against the real one."""

import asyncio
import dataclasses
import itertools
import json
from collections import deque
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc import aio

import greenroom_client
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as pb
from greenroom_client.tokens import tokens_from_pb
from tests.support.cable import Cable
from tests.support.unruly import CHANNEL, STALE, details, unruly

OTHER = "0198f0a0-0000-7000-8000-000000000002"
NOT_FOUND = "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"
BUSY = "WIRE_ERROR_REASON_RATE_LIMITED"


class Post:
    """Stores each message once; says to the next sends what its script has, after or before that."""

    def __init__(self, server: Any) -> None:
        self.asked: list[pb.SendMessageRequest] = []
        self.stored: dict[str, pb.SendMessageRequest] = {}
        self.script: deque[tuple[grpc.StatusCode, str, float | None, bool]] = deque()
        self.holds: dict[str, asyncio.Event] = {}
        """Sends into these channels wait."""
        self._check = server._check
        server.anything = self.send

    def fails(
        self,
        code: grpc.StatusCode,
        reason: str = "",
        *,
        retry_after: float | None = None,
        stored: bool = False,
        times: int = 1,
    ) -> None:
        self.script.extend([(code, reason, retry_after, stored)] * times)

    async def send(self, raw: bytes, context: Any) -> bytes:
        request = pb.SendMessageRequest.FromString(raw)
        self.asked.append(request)
        await self._check(context)
        if request.channel_id in self.holds:
            await self.holds[request.channel_id].wait()
        code, reason, retry_after, stored = (
            self.script.popleft() if self.script else (None, "", None, True)
        )
        if stored:
            self.stored.setdefault(request.client_id, request)
        if code is not None:
            await context.abort(code, "no", details(code, reason, retry_after) if reason else ())
        reply = pb.SendMessageResponse()
        reply.message.client_id = request.client_id
        reply.message.seq = list(self.stored).index(request.client_id) + 1
        return reply.SerializeToString()

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.stored.values()]


async def flushed(outbox: greenroom_client.Outbox) -> None:
    async with asyncio.timeout(20):
        await outbox.flush()


async def test_messages_of_a_channel_are_stored_once_and_in_order_over_an_outage() -> None:
    async with unruly() as (server, client, slept), client.outbox() as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.UNAVAILABLE, times=15)
        post.fails(grpc.StatusCode.UNAVAILABLE, stored=True)
        deliveries = [outbox.send(CHANNEL, f"m{n}") for n in range(5)]
        assert [delivery.state for delivery in deliveries] == ["waiting"] * 5
        assert [entry.client_id for entry in outbox.unsent] == [d.client_id for d in deliveries]
        await flushed(outbox)
        assert post.texts == [f"m{n}" for n in range(5)]
        assert [(await delivery).seq for delivery in deliveries] == [1, 2, 3, 4, 5]
        assert {delivery.state for delivery in deliveries} == {"sent"}
        assert len(post.asked) == 21
        assert {asked.client_id for asked in post.asked[:17]} == {deliveries[0].client_id}
        assert max(slept) == 5.0
        assert outbox.unsent == outbox.failed == []


async def test_everything_of_a_message_travels() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        more = {"attachment_media_ids": [OTHER], "reply_to_id": "r", "mentioned_user_ids": ["u"]}
        delivery = outbox.send(CHANNEL, "hi", **more)
        await delivery
        expected = pb.SendMessageRequest(
            channel_id=CHANNEL, text="hi", client_id=delivery.client_id, **more
        )
        assert post.asked == [expected]


async def test_channels_do_not_wait_for_each_other() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        post.holds[CHANNEL] = asyncio.Event()
        slow = [outbox.send(CHANNEL, "slow 1"), outbox.send(CHANNEL, "slow 2")]
        async with asyncio.timeout(10):
            await outbox.send(OTHER, "quick")
        assert [delivery.state for delivery in slow] == ["waiting", "waiting"]
        post.holds[CHANNEL].set()
        await flushed(outbox)
        assert post.texts == ["quick", "slow 1", "slow 2"]


async def test_only_so_many_are_sent_at_once() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        held = asyncio.Event()
        channel_ids = [f"channel-{n}" for n in range(20)]
        post.holds = dict.fromkeys(channel_ids, held)
        for channel_id in channel_ids:
            outbox.send(channel_id, channel_id)
        async with asyncio.timeout(10):
            while len(post.asked) < 8:
                await asyncio.sleep(0.01)
        # What goes out after them would be behind a ninth.
        last = pb.SendMessageRequest(channel_id=OTHER, client_id="last", text="last")
        await client.messages.SendMessage(last)
        assert len(post.asked) == 9
        held.set()
        await flushed(outbox)
        assert sorted(post.texts) == sorted(["last", *channel_ids])


async def test_a_busy_server_says_when_to_come_back() -> None:
    async with unruly() as (server, client, slept), client.outbox() as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, BUSY, retry_after=0.875, times=12)
        await outbox.send(CHANNEL, "patient")
        assert post.texts == ["patient"]
        assert min(slept) == 0.875
        assert len(post.asked) == 13


async def test_a_refused_message_has_failed_and_those_behind_it_go_on() -> None:
    async with unruly() as (server, client, slept), client.outbox() as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.NOT_FOUND, NOT_FOUND)
        refused, good = outbox.send(CHANNEL, "refused"), outbox.send(CHANNEL, "good")
        await flushed(outbox)
        assert (refused.state, good.state) == ("failed", "sent")
        assert outbox.failed == [refused]
        assert greenroom_client.reason_of(refused.error) == NOT_FOUND
        with pytest.raises(aio.AioRpcError):
            await refused
        again = outbox.add(refused.outgoing)
        assert outbox.failed == []
        await again
        assert post.texts == ["good", "refused"]
        assert slept == []


async def test_a_message_that_the_server_stumbles_over_does_not_hold_up_its_channel() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.INTERNAL, "WIRE_ERROR_REASON_INTERNAL", times=8)
        poison, good = outbox.send(CHANNEL, "poison"), outbox.send(CHANNEL, "good")
        await flushed(outbox)
        assert (poison.state, good.state) == ("failed", "sent")
        outbox.forget(poison.client_id)
        assert outbox.failed == []


async def test_connections_that_break_are_no_fault_of_the_message() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.INTERNAL, times=20)
        post.fails(grpc.StatusCode.UNKNOWN, times=20, stored=True)
        post.fails(grpc.StatusCode.CANCELLED)
        post.fails(grpc.StatusCode.ABORTED, "WIRE_ERROR_REASON_CONFLICT")
        await outbox.send(CHANNEL, "hi")
        assert post.texts == ["hi"]


async def test_it_gives_up_where_it_was_told_to() -> None:
    async with unruly() as (server, client, _slept), client.outbox(give_up_after=1.5) as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.RESOURCE_EXHAUSTED, BUSY, retry_after=1.9)
        late, good = outbox.send(CHANNEL, "late"), outbox.send(CHANNEL, "good")
        await flushed(outbox)
        assert (late.state, good.state) == ("failed", "sent")
        assert isinstance(late.error, TimeoutError)
        assert greenroom_client.reason_of(late.error.__cause__) == BUSY
        assert post.texts == ["good"]


async def test_a_stale_token_is_renewed_for_all_and_nothing_fails() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        server.good.clear()
        server.failures.append((grpc.StatusCode.UNAVAILABLE, ""))
        for channel_id in (CHANNEL, OTHER):
            outbox.send(channel_id, "one")
            outbox.send(channel_id, "two")
        await flushed(outbox)
        assert sorted(post.texts) == ["one", "one", "two", "two"]
        assert outbox.failed == []


async def test_a_session_that_is_over_ends_it_and_leaves_what_is_unsent() -> None:
    dead = "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID"
    async with unruly() as (server, client, _slept):
        post = Post(server)
        server.good.clear()
        server.failures.append((grpc.StatusCode.UNAUTHENTICATED, dead))
        outbox = client.outbox()
        first, second = outbox.send(CHANNEL, "one"), outbox.send(OTHER, "two")
        with pytest.raises(greenroom_client.SignedOut):
            await flushed(outbox)
        with pytest.raises(greenroom_client.SignedOut):
            await first
        with pytest.raises(greenroom_client.SignedOut):
            outbox.send(CHANNEL, "three")
        assert second.state == "waiting"
        kept = json.dumps([dataclasses.asdict(entry) for entry in outbox.unsent])
        server.good.add("Bearer access-1")
        client.keeper.keep(greenroom_client.Tokens("access-1", 10_000, "refresh-1", 100_000))
        entries = [greenroom_client.Outgoing(**entry) for entry in json.loads(kept)]
        async with client.outbox(entries) as another:
            await flushed(another)
        assert sorted(post.texts) == ["one", "two"]
        assert set(post.stored) == {first.client_id, second.client_id}


async def test_a_token_that_no_renewal_cures_ends_it() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        post.fails(grpc.StatusCode.UNAUTHENTICATED, STALE, times=9)
        delivery = outbox.send(CHANNEL, "hi")
        with pytest.raises(aio.AioRpcError):
            await flushed(outbox)
        assert delivery.state == "waiting"
        assert len(server.refreshed) == 3


async def test_closing_leaves_what_waits_and_says_so() -> None:
    async with unruly() as (server, client, _slept):
        post = Post(server)
        post.holds[CHANNEL] = asyncio.Event()
        async with client.outbox() as outbox:
            delivery = outbox.send(CHANNEL, "hi")
        with pytest.raises(greenroom_client.OutboxClosed):
            await delivery
        assert outbox.unsent == [delivery.outgoing]
        with pytest.raises(greenroom_client.OutboxClosed):
            outbox.send(CHANNEL, "more")


async def test_a_client_that_is_closed_takes_its_outbox_along() -> None:
    async with unruly() as (server, client, _slept):
        post = Post(server)
        post.holds[CHANNEL] = asyncio.Event()
        outbox = client.outbox()
        delivery = outbox.send(CHANNEL, "hi")
        async with asyncio.timeout(10):
            while not post.asked:
                await asyncio.sleep(0.01)
        await client.close()
        with pytest.raises(greenroom_client.OutboxClosed):
            await flushed(outbox)
        assert outbox.unsent == [delivery.outgoing]


async def test_who_gives_up_waiting_does_not_take_the_message_back() -> None:
    async with unruly() as (server, client, _slept), client.outbox() as outbox:
        post = Post(server)
        post.holds[CHANNEL] = asyncio.Event()
        delivery = outbox.send(CHANNEL, "hi")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await delivery
        post.holds[CHANNEL].set()
        await flushed(outbox)
        assert delivery.state == "sent"


async def test_one_message_is_not_taken_twice_and_every_change_is_told() -> None:
    told: list[tuple[str, str]] = []
    async with unruly() as (server, client, _slept):
        post = Post(server)
        post.fails(grpc.StatusCode.NOT_FOUND, NOT_FOUND)

        def note(delivery: Any) -> None:
            told.append((delivery.outgoing.text, delivery.state))

        async with client.outbox(on_change=note) as outbox:
            entry = greenroom_client.Outgoing(channel_id=CHANNEL, text="a")
            assert outbox.add(entry) is outbox.add(entry)
            with pytest.raises(ValueError, match="client id"):
                outbox.add(dataclasses.replace(entry, text="b"))
            with pytest.raises(TypeError):
                outbox.send(CHANNEL, 7)  # type: ignore[arg-type]
            outbox.send(CHANNEL, "c")
            await flushed(outbox)
        expected = [("a", "waiting"), ("c", "waiting"), ("a", "failed"), ("c", "sent")]
        assert told == expected


async def test_against_the_real_server_over_cuts_lost_replies_and_a_renewal(server: Any) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    now = lambda: server.clock.now().timestamp()  # noqa: E731
    with Cable(server.address) as cable:
        async with greenroom_client.connect(cable.address, now=now) as client:
            client.keeper.keep(tokens_from_pb(ada.tokens.tokens))
            reply = await client.channels.GetDirectChannel(
                channel_pb.GetDirectChannelRequest(user_id=bob.id)
            )
            channel_id = reply.channel.id

            def cut(delivery: Any) -> None:
                if delivery.state == "sent" and delivery.message.seq % 12 == 5:
                    cable.cut()
                    asyncio.get_running_loop().call_later(0.02, cable.mend)

            send, calls = client.messages.SendMessage, itertools.count()

            async def lossy(request: Any, **options: Any) -> Any:
                reply = await send(request, **options)
                if next(calls) % 3 == 0:
                    raise aio.AioRpcError(
                        grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata()
                    )
                return reply

            client.messages.SendMessage = lossy
            async with client.outbox(on_change=cut) as outbox:
                sent = [outbox.send(channel_id, f"m{n}") for n in range(40)]
                lost = outbox.send(str(uuid4()), "to nobody")
                await sent[10]
                server.clock.advance(895)
                await flushed(outbox)
                assert [(await delivery).seq for delivery in sent] == list(range(1, 41))
                assert outbox.failed == [lost]
                assert greenroom_client.reason_of(lost.error) == NOT_FOUND
            history = await client.messages.ListMessages(
                pb.ListMessagesRequest(channel_id=channel_id, after_seq=0, page_size=200)
            )
            assert [stored.text for stored in history.messages] == [f"m{n}" for n in range(40)]
