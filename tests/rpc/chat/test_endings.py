"""How streams end: drain, sign-out, age, and readers who do not read."""

import asyncio
from collections.abc import Callable
from typing import Any

from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from server.chat.sending import SendCommand
from server.core.ids import new_id
from tests.rpc.chat.scenes import SECONDS, Room, Watch, chat_of
from tests.support.statuses import failure_of, reason_of, retry_after_of


async def test_a_drain_ends_streams_with_a_token_and_a_spread_delay(
    make_room: Callable[..., Any], serve: Callable[..., Any]
) -> None:
    room: Room = await make_room()
    async with (
        room.watch() as one,
        room.watch() as two,
        room.watch(by=room.ann) as three,
    ):
        for watch in (one, two, three):
            await watch.caught_up()
        await room.send_many(3)
        await one.messages(3)
        draining = asyncio.create_task(room.server.running.stop(5))
        for watch in (one, two, three):
            await watch.until(lambda watch: watch.ended)
            assert watch.end is not None
            assert watch.end.reason == event_pb2.END_REASON_DRAINING
            assert 0 <= watch.end.retry_delay.ToTimedelta().total_seconds() <= 5
            assert await watch.call.code() is StatusCode.OK
        delays = {watch.end.retry_delay.ToNanoseconds() for watch in (one, two, three) if watch.end}
        assert len(delays) == 3
        await draining
    room.server = await serve()
    await room.send("on the next server")
    async with room.watch(resume_token=one.token) as again:
        await again.caught_up()
    assert again.seqs == [4]


async def test_signing_out_ends_the_streams_of_the_session(room: Room) -> None:
    async with room.watch() as watch, room.watch(by=room.ann) as other:
        await watch.caught_up()
        await other.caught_up()
        await room.server.auth.LogOut(auth_pb.LogOutRequest(), metadata=room.bob.metadata)
        await watch.until(lambda watch: watch.ended)
        assert watch.end is not None
        assert watch.end.reason == event_pb2.END_REASON_SESSION_ENDED
        await room.send()
        assert await other.messages(1) == [1]


async def test_a_stream_that_is_old_enough_is_asked_to_come_again(
    make_room: Callable[..., Any],
) -> None:
    room: Room = await make_room(stream_max_seconds=1)
    async with room.watch() as watch:
        await watch.until(lambda watch: watch.ended)
    assert watch.end is not None
    assert watch.end.reason == event_pb2.END_REASON_MAX_DURATION
    async with room.watch(resume_token=watch.end.resume_token) as again:
        await again.caught_up()


async def test_a_reader_that_does_not_read_is_cut_and_can_resume(
    make_room: Callable[..., Any],
) -> None:
    room: Room = await make_room(stream_write_seconds=1)
    # A window of its own, so that what is not read piles up at the server and not here.
    channel = aio.insecure_channel(
        room.server.address,
        options=[
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.http2.lookahead_bytes", 65536),
            ("grpc.http2.bdp_probe", 0),
        ],
    )
    stub = event_grpc.EventServiceStub(channel)
    stalled = Watch(stub.WatchEvents(events.WatchEventsRequest(), metadata=room.bob.metadata))
    async with room.watch(by=room.ann) as healthy:
        await stalled.caught_up()
        await healthy.caught_up()
        streams = room.server.running.streams
        assert len(streams) == 2
        lane, sent = chat_of(room.server).lane, 0
        async with asyncio.timeout(3 * SECONDS):
            while len(streams) == 2:
                await asyncio.gather(
                    *(
                        lane.send(SendCommand(room.channel.id, room.ann.id, new_id(), "x" * 4000))
                        for _ in range(50)
                    )
                )
                sent += 50
                await healthy.messages(sent)
        assert healthy.seqs == list(range(1, sent + 1))
    error = await failure_of(stalled.until(lambda watch: watch.ended))
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(error) == "CHAT_ERROR_REASON_SLOW_CONSUMER"
    assert retry_after_of(error)
    last = max(stalled.seqs, default=0)
    assert stalled.seqs == list(range(1, last + 1))
    async with room.watch(resume_token=stalled.token, cursors=[room.at(last)]) as again:
        await again.messages(sent - last)
    assert again.seqs == list(range(last + 1, sent + 1))
    await channel.close()


async def test_a_client_that_goes_leaves_nothing_behind(room: Room) -> None:
    hub = chat_of(room.server).hub
    async with room.watch() as watch, room.watch(by=room.ann) as other:
        await watch.caught_up()
        await other.caught_up()
        assert hub.watches(room.channel.id)
    async with asyncio.timeout(SECONDS):
        while hub.watches(room.channel.id) or len(room.server.running.streams):
            await asyncio.sleep(0.01)
    assert not hub._followers
    assert not hub._rings
