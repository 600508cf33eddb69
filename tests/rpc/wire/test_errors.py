"""What a caller is told when things go wrong, for all four kinds of method."""

import asyncio
import json

import grpc
import pytest
from grpc import aio

from tests.support.probe import Item, ProbeRequest
from tests.support.statuses import field_names, reason_of, request_id_of
from tests.support.wire import ProbeServer

RAW = b"\xff\xff\xff"


async def test_foreseen_error_carries_reason_and_reference(probe: ProbeServer) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.Fail(
            ProbeRequest(text="foreseen"), metadata=[("x-request-id", "my-call-0001")]
        )
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert reason_of(raised.value) == "PROBE_FAILED"
    assert request_id_of(raised.value) == "my-call-0001"
    assert await probe.audit_count("probe.fail") == 0


async def test_unforeseen_error_tells_nothing_but_a_reference(probe: ProbeServer) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.Fail(ProbeRequest(text="x", password="hunter2"))
    error = raised.value
    assert error.code() is grpc.StatusCode.INTERNAL
    assert reason_of(error) == "WIRE_ERROR_REASON_INTERNAL"
    assert "hunter2" not in repr(error) and "SELECT" not in repr(error)
    assert request_id_of(error) in (error.details() or "")
    assert await probe.audit_count("probe.fail") == 0


@pytest.mark.parametrize("raw", [RAW, b"\x0a\x02\xff\xfe", b"\x0a\x7f"])
@pytest.mark.parametrize("method", ["Read", "Watch", "Collect", "Talk", "Write"])
async def test_undecodable_bytes(probe: ProbeServer, method: str, raw: bytes) -> None:
    metadata = probe.signed_in()
    with pytest.raises(aio.AioRpcError) as raised:
        await _drive(probe, method, raw, metadata)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "WIRE_ERROR_REASON_UNDECODABLE"


@pytest.mark.parametrize("method", ["Read", "Watch", "Collect", "Talk", "Write"])
async def test_every_broken_field_is_named(probe: ProbeServer, method: str) -> None:
    request = ProbeRequest(
        text="x" * 101,
        shade=77,
        count=-1,
        items=[Item(), Item(name="much too long a name")],
        named={"a": Item(name="much too long a name")},
    )
    with pytest.raises(aio.AioRpcError) as raised:
        await _drive(probe, method, request, probe.signed_in())
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "WIRE_ERROR_REASON_INVALID_FIELD"
    assert field_names(raised.value) == [
        "text",
        "shade",
        "items[1].name",
        "named['a'].name",
        "count",
    ]


async def test_error_in_the_middle_of_a_stream(probe: ProbeServer) -> None:
    seen = []
    with pytest.raises(aio.AioRpcError) as raised:
        async for reply in probe.stub.Watch(
            ProbeRequest(text="fail", count=3), metadata=probe.signed_in()
        ):
            seen.append(reply.number)
    assert seen == [0, 1, 2]
    assert reason_of(raised.value) == "PROBE_FAILED"


async def test_unknown_method_is_unimplemented(probe: ProbeServer) -> None:
    call = probe.channel.unary_unary("/greenroom.probe.v1.ProbeService/Nothing")
    with pytest.raises(aio.AioRpcError) as raised:
        await call(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_deadline_of_the_policy_ends_a_coroutine(probe: ProbeServer) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.Hang(ProbeRequest())
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(raised.value) == "WIRE_ERROR_REASON_DEADLINE_EXCEEDED"


async def test_a_unit_past_its_deadline_commits_nothing(probe: ProbeServer) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.HangInUnit(ProbeRequest())
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    probe.probe.hanging.set()
    assert await probe.audit_count("probe.hang") == 0


async def test_failed_call_is_logged_without_secrets(probe: ProbeServer) -> None:
    request = ProbeRequest(
        text="shown",
        password="canary-one",
        items=[Item(name="i", token="canary-two")],
        named={"k": Item(token="canary-three")},
        count=-1,
    )
    request.count = 1
    with pytest.raises(aio.AioRpcError) as raised:
        await probe.stub.Fail(request)
    text = probe.logged()
    assert "canary" not in text
    (line,) = [
        line
        for line in map(json.loads, text.splitlines())
        if line["request_id"] == request_id_of(raised.value)
    ]
    assert line["code"] == "INTERNAL"
    assert line["request"]["text"] == "shown"
    assert line["request"]["password"] == "[redacted]"
    assert line["request"]["items"][0]["token"] == "[redacted]"
    assert line["request"]["named"]["k"]["token"] == "[redacted]"


async def _drive(
    probe: ProbeServer, method: str, request: object, metadata: list[tuple[str, str]]
) -> None:
    call = getattr(probe.stub, method)
    if method in ("Collect", "Talk"):

        async def requests() -> object:  # type: ignore[misc]
            yield request

        running = call(requests(), metadata=metadata)
    else:
        running = call(request, metadata=metadata)
    async with asyncio.timeout(10):
        if method in ("Watch", "Talk"):
            async for _reply in running:
                pass
        else:
            await running
