"""Every method, all kinds, whatever is sent: a documented status, a reason, and never a traceback."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio
from hypothesis import strategies as st

from tests.support.databases import fresh_database, require
from tests.support.demands import demands
from tests.support.messages import examples, messages
from tests.support.serve import Greenroom, serving
from tests.support.services import all_methods
from tests.support.statuses import reason_of

METHODS = all_methods()
ONE_REQUEST = [method for method in METHODS if not method.client_streaming]
FORBIDDEN = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNIMPLEMENTED}
EXAMPLES = 25
UNHEARD = "Internal error from Core"
"""What grpc.aio itself says, in place of the answer, when a stream is refused while its first request is
being written."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def fuzzed(request: Any, tmp_path_factory: Any) -> Any:
    """One server for all the wrong input, and somebody who is signed in."""
    require(request.param)
    folder: Path = tmp_path_factory.mktemp("fuzz")
    async with serving(fresh_database(request.param), folder) as server:
        yield server, await server.person("Fuzz")


async def _send(server: Greenroom, method: MethodDescriptor, raw: bytes, metadata: Any) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    channel = server.channel
    async with asyncio.timeout(20):
        if method.client_streaming:

            async def requests() -> Any:
                yield raw

            stream = channel.stream_stream(path)(requests(), metadata=metadata)
            await stream.read()
            stream.cancel()
        elif method.server_streaming:
            stream = channel.unary_stream(path)(raw, metadata=metadata)
            await stream.read()
            stream.cancel()
        else:
            await channel.unary_unary(path)(raw, metadata=metadata)


async def _answer(
    server: Greenroom, method: MethodDescriptor, raw: bytes, metadata: Any
) -> aio.AioRpcError | None:
    try:
        await _send(server, method, raw, metadata)
    except aio.AioRpcError as refused:
        if method.client_streaming and refused.details() == UNHEARD:
            return await _answer(server, method, raw, metadata)
        return refused
    return None


async def _check(server: Greenroom, method: MethodDescriptor, raw: bytes, metadata: Any) -> None:
    error = await _answer(server, method, raw, metadata)
    if error is not None:
        assert error.code() not in FORBIDDEN, (method.full_name, raw, error.details())
        assert reason_of(error), (method.full_name, raw, error.code())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name[13:])
async def test_generated_messages(fuzzed: Any, method: MethodDescriptor) -> None:
    server, person = fuzzed
    public = "PUBLIC" in demands()[method.full_name].access
    for number, message in enumerate(examples(messages(method.input_type), EXAMPLES)):
        raw = message.SerializeToString()
        # Signing out in the middle would make all later cases the same one.
        if method.name != "LogOut":
            await _check(server, method, raw, person.metadata)
        # Without credentials, where they are needed, nothing is decoded: one says as much as all.
        if public or number == 0:
            await _check(server, method, raw, ())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name[13:])
async def test_raw_bytes(fuzzed: Any, method: MethodDescriptor) -> None:
    server, person = fuzzed
    for raw in examples(st.binary(max_size=200), EXAMPLES):
        if method.name != "LogOut":
            await _check(server, method, raw, person.metadata)


@pytest.mark.parametrize("method", ONE_REQUEST, ids=lambda method: method.full_name[13:])
async def test_no_request_at_all(fuzzed: Any, method: MethodDescriptor) -> None:
    server, person = fuzzed
    path = f"/{method.containing_service.full_name}/{method.name}"
    make = server.channel.stream_stream if method.server_streaming else server.channel.stream_unary
    metadata = () if "PUBLIC" in demands()[method.full_name].access else person.metadata
    call = make(path)([], metadata=metadata)
    with pytest.raises(aio.AioRpcError) as raised:
        async with asyncio.timeout(20):
            await (call.read() if method.server_streaming else call)
    told = (raised.value.code(), reason_of(raised.value))
    # Who may not call the method is told that first.
    assert told in {
        (grpc.StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_REQUEST_MISSING"),
        (grpc.StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_ACCESS_DENIED"),
        (grpc.StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED"),
    }


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name[13:])
@pytest.mark.parametrize(
    "authorization",
    ["Bearer x", "Bearer " + "a.b.c", "Basic QTpC", "Bearer " + "x" * 6000, "Bearer ..", "bearer"],
)
async def test_wrong_credentials(fuzzed: Any, method: MethodDescriptor, authorization: str) -> None:
    server, _person = fuzzed
    await _check(server, method, b"", (("authorization", authorization),))
