"""Open streams: both directions, revocation, drain, a reader that stalls."""

import asyncio

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.probe import SERVICE, ProbeRequest
from tests.support.statuses import reason_of
from tests.support.wire import USER, ProbeServer


async def test_client_and_bidirectional_streams(probe: ProbeServer) -> None:
    async def requests() -> object:  # type: ignore[misc]
        for text in "abc":
            yield ProbeRequest(text=text)

    reply = await probe.stub.Collect(requests())
    assert (reply.text, reply.number) == ("a,b,c", 3)
    assert [reply.text async for reply in probe.stub.Talk(requests())] == ["a", "b", "c"]


async def test_revoked_session_ends_its_streams_only(probe: ProbeServer) -> None:
    mine = probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in())
    others = probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in("other"))
    await mine.read()
    await others.read()
    for listener in probe.callers.listeners:
        listener(USER.session_id)
    assert (await mine.read()).text == "SESSION_ENDED"
    assert await mine.read() is aio.EOF
    assert len(probe.streams) == 1
    others.cancel()


async def test_drain_ends_streams_and_finishes_calls(probe: ProbeServer) -> None:
    stream = probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in())
    await stream.read()
    pending = asyncio.ensure_future(probe.stub.HangInUnit(ProbeRequest()))
    while probe.wire.budget.in_flight < 1:
        await asyncio.sleep(0)
    health = health_pb2_grpc.HealthStub(probe.channel)
    watched = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
    assert (await watched.read()).status == health_pb2.HealthCheckResponse.SERVING

    draining = asyncio.ensure_future(probe.wire.drain(5))
    assert (await watched.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert (await stream.read()).text == "DRAINING"
    assert await stream.read() is aio.EOF
    probe.probe.hanging.set()
    await pending
    watched.cancel()
    await draining


async def test_no_new_stream_while_draining(probe: ProbeServer) -> None:
    await probe.streams.drain(1)
    stream = probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in())
    with pytest.raises(aio.AioRpcError) as raised:
        await stream.read()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(raised.value) == "WIRE_ERROR_REASON_DRAINING"


async def test_a_reader_that_stalls_is_cut(probe: ProbeServer) -> None:
    stream = probe.stub.Watch(
        ProbeRequest(text="x" * 100, count=1_000_000), metadata=probe.signed_in()
    )
    await stream.read()
    async with asyncio.timeout(20):
        while len(probe.streams):
            await asyncio.sleep(0.05)
        with pytest.raises(aio.AioRpcError) as raised:
            while await stream.read() is not aio.EOF:
                pass
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_client_that_leaves_is_forgotten(probe: ProbeServer) -> None:
    stream = probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in())
    await stream.read()
    stream.cancel()
    async with asyncio.timeout(5):
        while len(probe.streams):
            await asyncio.sleep(0.01)
