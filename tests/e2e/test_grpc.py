"""Plain gRPC through Envoy, with the generated stubs."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from greenroom.chat.v1 import message_service_pb2 as message_pb
from greenroom.chat.v1 import message_service_pb2_grpc as message_grpc
from tests.support.site import Site


@pytest.fixture
async def channel(site: Site) -> AsyncIterator[aio.Channel]:
    """A connection to Envoy."""
    async with aio.insecure_channel(site.address) as opened:
        yield opened


async def test_a_unary_call(site: Site, channel: aio.Channel) -> None:
    ann = await asyncio.to_thread(site.person, "ann")
    reply = await auth_grpc.AuthServiceStub(channel).GetMe(
        auth_pb.GetMeRequest(), metadata=ann.metadata
    )
    assert reply.user.id == ann.id


async def test_an_error_keeps_its_details(channel: aio.Channel) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await auth_grpc.AuthServiceStub(channel).SignUp(auth_pb.SignUpRequest(email="x"))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(raised.value)
    packed = {detail.TypeName(): detail for detail in status.details}
    violations = error_details_pb2.BadRequest()
    assert packed["google.rpc.BadRequest"].Unpack(violations)
    assert {each.field for each in violations.field_violations} == {"email", "password"}


async def test_a_deadline_passes_through(site: Site, channel: aio.Channel) -> None:
    ann = await asyncio.to_thread(site.person, "ann")
    with pytest.raises(aio.AioRpcError) as raised:
        await auth_grpc.AuthServiceStub(channel).GetMe(
            auth_pb.GetMeRequest(), metadata=ann.metadata, timeout=0.0005
        )
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_one_stream_for_everything(site: Site, channel: aio.Channel) -> None:
    ann, bob = await asyncio.gather(
        asyncio.to_thread(site.person, "ann"), asyncio.to_thread(site.person, "bob")
    )
    room = await asyncio.to_thread(site.channel, ann, bob)
    call = event_grpc.EventServiceStub(channel).Connect(metadata=ann.metadata)
    await call.write(
        event_pb.ConnectRequest(command_id=1, subscribe=event_pb.Subscribe(channel_ids=[room]))
    )
    await call.write(
        event_pb.ConnectRequest(
            command_id=2,
            send=event_pb.SendMessageCommand(
                channel_id=room, client_id=str(uuid.uuid4()), text="hello"
            ),
        )
    )
    heard, answered = False, set()
    async with asyncio.timeout(10):
        async for reply in call:
            heard |= any(event.message.text == "hello" for event in reply.events)
            if reply.HasField("result"):
                answered.add(reply.result.command_id)
            if heard and answered >= {1, 2}:
                break
    await call.done_writing()
    call.cancel()


async def test_a_message_over_the_servers_limit(site: Site, channel: aio.Channel) -> None:
    ann = await asyncio.to_thread(site.person, "ann")
    request = message_pb.SendMessageRequest(text="x" * (5 << 20))
    with pytest.raises(aio.AioRpcError) as raised:
        await message_grpc.MessageServiceStub(channel).SendMessage(request, metadata=ann.metadata)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_message_over_the_rest_limit_is_the_servers_to_judge(
    site: Site, channel: aio.Channel
) -> None:
    ann = await asyncio.to_thread(site.person, "ann")
    request = message_pb.SendMessageRequest(text="x" * (2 << 20))
    with pytest.raises(aio.AioRpcError) as raised:
        await message_grpc.MessageServiceStub(channel).SendMessage(request, metadata=ann.metadata)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "path",
    [
        "/greenroom.auth.v1.AuthService/Fly",
        "/greenroom.flying.v1.FlyingService/Fly",
        "/grpc.channelz.v1.Channelz/GetServers",
        "/other.Service/Method",
    ],
)
async def test_an_unknown_method(channel: aio.Channel, path: str) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await channel.unary_unary(path)(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "{" not in str(raised.value.details())


async def test_health(channel: aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "greenroom.chat.v1.EventService"):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_is_there_in_development(channel: aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    )
    async for reply in call:
        names = {service.name for service in reply.list_services_response.service}
        assert "greenroom.auth.v1.AuthService" in names
