"""One effect and one reply for one ``request_id``, whatever becomes of the replies."""

import asyncio
from uuid import uuid4

import grpc
import pytest
from grpc import aio

from tests.support.probe import ProbeRequest
from tests.support.statuses import field_names, reason_of
from tests.support.wire import ProbeServer


async def test_a_repeat_gets_the_first_reply(probe: ProbeServer) -> None:
    request = ProbeRequest(text="once", request_id=str(uuid4()))
    first = await probe.stub.Write(request, metadata=probe.signed_in())
    second = await probe.stub.Write(request, metadata=probe.signed_in())
    assert first == second
    assert await probe.audit_count("probe.write") == 1


async def test_thirty_two_at_once(probe: ProbeServer) -> None:
    request = ProbeRequest(text="storm", request_id=str(uuid4()))
    replies = await asyncio.gather(
        *(probe.stub.Write(request, metadata=probe.signed_in()) for _ in range(32))
    )
    assert len({reply.SerializeToString() for reply in replies}) == 1
    assert await probe.audit_count("probe.write") == 1


async def test_another_body_is_refused(probe: ProbeServer) -> None:
    request_id = str(uuid4())
    await probe.stub.Write(
        ProbeRequest(text="one", request_id=request_id), metadata=probe.signed_in()
    )
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.Write(
            ProbeRequest(text="two", request_id=request_id), metadata=probe.signed_in()
        )
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "WIRE_ERROR_REASON_REQUEST_ID_REUSED"
    assert field_names(raised.value) == ["request_id"]
    assert await probe.audit_count("probe.write") == 1


async def test_the_id_belongs_to_its_caller(probe: ProbeServer) -> None:
    request = ProbeRequest(text="mine", request_id=str(uuid4()))
    await probe.stub.Write(request, metadata=probe.signed_in())
    await probe.stub.Write(request, metadata=probe.signed_in("other"))
    assert await probe.audit_count("probe.write") == 2


async def test_without_an_id_each_call_acts(probe: ProbeServer) -> None:
    for _ in range(2):
        await probe.stub.Write(ProbeRequest(text="x"), metadata=probe.signed_in())
    assert await probe.audit_count("probe.write") == 2


async def test_an_id_that_is_no_uuid(probe: ProbeServer) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.Write(ProbeRequest(request_id="seven"), metadata=probe.signed_in())
    assert field_names(raised.value) == ["request_id"]


async def test_a_refusal_leaves_its_trace_and_is_not_stored(probe: ProbeServer) -> None:
    request = ProbeRequest(text="no", request_id=str(uuid4()))
    for _ in range(2):
        with pytest.raises(aio.AioRpcError) as raised:
            await probe.stub.Refuse(request)
        assert reason_of(raised.value) == "PROBE_FAILED"
    assert await probe.audit_count("probe.refuse") == 2


async def test_a_reply_is_forgotten_after_a_day(probe: ProbeServer) -> None:
    request = ProbeRequest(text="again", request_id=str(uuid4()))
    await probe.stub.Write(request, metadata=probe.signed_in())
    probe.clock.advance(24 * 3600 + 1)
    await probe.stub.Write(request, metadata=probe.signed_in())
    assert await probe.audit_count("probe.write") == 2
