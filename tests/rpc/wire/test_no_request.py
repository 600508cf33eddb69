"""A call that ends, or goes on, without the one message that its method takes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc import aio

from server.core.config import load_settings
from server.wire import streaming
from tests.support.probe import SERVICE, ProbeRequest
from tests.support.statuses import reason_of
from tests.support.wire import ProbeServer, serve_probe

ANSWER_SECONDS = 5


async def none_at_all() -> AsyncIterator[bytes]:
    for message in ():
        yield message


def open_call(probe: ProbeServer, method: str, requests: Any = None) -> Any:
    """The call as a client makes it that may send any number of messages."""
    channel: aio.Channel = probe.channel
    path = f"/{SERVICE.full_name}/{method}"
    make: Callable[..., Any] = channel.stream_stream if method == "Watch" else channel.stream_unary
    return make(path)(requests, metadata=probe.signed_in())


async def refusal(probe: ProbeServer, method: str, call: Any) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as raised:
        async with asyncio.timeout(ANSWER_SECONDS):
            await (call.read() if method == "Watch" else call)
    return raised.value


@pytest.mark.parametrize("method", ["Read", "Write", "Watch"])
async def test_an_end_without_a_request(probe: ProbeServer, method: str) -> None:
    error = await refusal(probe, method, open_call(probe, method, none_at_all()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(error) == "WIRE_ERROR_REASON_REQUEST_MISSING"
    assert "greenroom.probe.v1.ProbeRequest" in (error.details() or "")


async def test_credentials_come_first(probe: ProbeServer) -> None:
    call = probe.channel.stream_unary(f"/{SERVICE.full_name}/Write")(none_at_all())
    error = await refusal(probe, "Write", call)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", ["Hang", "Watch"])
async def test_a_request_that_never_comes(
    probe: ProbeServer, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "REQUEST_SECONDS", 0.3)
    error = await refusal(probe, method, open_call(probe, method))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(error) == "WIRE_ERROR_REASON_DEADLINE_EXCEEDED"


async def test_who_is_slow_to_ask_takes_no_place(database_url: str) -> None:
    settings = load_settings({"DATABASE_URL": database_url})
    async with serve_probe(settings, unary_limit=1) as probe:
        slow = [open_call(probe, "Read") for _ in range(8)]
        for call in slow:
            await call.wait_for_connection()
        await probe.stub.Read(ProbeRequest(text="quick"))
        for call in slow:
            await call.write(b"")
            await call.done_writing()
            await call
        assert probe.wire.budget.in_flight == 0


@pytest.mark.parametrize("method", ["Read", "Watch"])
async def test_who_leaves_before_asking_is_not_blamed(probe: ProbeServer, method: str) -> None:
    calls = [open_call(probe, method) for _ in range(20)]
    for call in calls:
        await call.wait_for_connection()
    await probe.stub.Read(ProbeRequest(text="all of them have arrived"))
    for call in calls:
        call.cancel()
    async with asyncio.timeout(ANSWER_SECONDS):
        while len(lines := _lines(probe, method)) < len(calls):
            await asyncio.sleep(0)
    assert {line["code"] for line in lines[:20]} == {"CANCELLED"}
    assert len(probe.streams) == 0


def _lines(probe: ProbeServer, method: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in probe.logged().splitlines()]
    return [line for line in lines if line["method"].endswith(method) and line["code"] != "OK"]


@pytest.mark.parametrize("method", ["Read", "Watch"])
async def test_a_request_beyond_the_limit(probe: ProbeServer, method: str) -> None:
    call = open_call(probe, method, [bytes(8 << 20)])
    error = await refusal(probe, method, call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
