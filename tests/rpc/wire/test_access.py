"""Who is let in: credentials, policy, step-up, limits and budgets."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from grpc import aio

from server.core.config import load_settings
from server.core.limits import MemoryCounters
from server.core.rates import Rate
from tests.support.probe import ProbeRequest
from tests.support.statuses import reason_of, retry_after_of
from tests.support.wire import USER, CallerTable, ProbeServer, serve_probe

DENIED = grpc.StatusCode.PERMISSION_DENIED
UNKNOWN_CALLER = grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(autouse=True, params=["anew", "remembered", "shared"])
def admitting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers who are looked up, callers who are remembered, and limits that others count, too: a gate
    decides at once, or has to wait for one thing or the other."""
    monkeypatch.setattr(CallerTable, "remembered", request.param != "anew")
    monkeypatch.setattr(MemoryCounters, "is_shared", request.param == "shared")


async def refusal(call: object) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as raised:
        await call  # type: ignore[misc]
    return raised.value


async def test_no_credentials(probe: ProbeServer) -> None:
    error = await refusal(probe.stub.Write(ProbeRequest()))
    assert error.code() is UNKNOWN_CALLER
    assert reason_of(error) == "WIRE_ERROR_REASON_CREDENTIALS_MISSING"


@pytest.mark.parametrize(
    "value", ["Bearer nobody", "Bearer", "Basic user", "user", "Bearer  ", "bearer nobody"]
)
async def test_wrong_credentials(probe: ProbeServer, value: str) -> None:
    error = await refusal(probe.stub.Write(ProbeRequest(), metadata=[("authorization", value)]))
    assert error.code() is UNKNOWN_CALLER


async def test_credentials_are_checked_before_the_request(probe: ProbeServer) -> None:
    error = await refusal(probe.stub.Write(b"\xff\xff"))
    assert error.code() is UNKNOWN_CALLER


async def test_public_method_ignores_stale_credentials(probe: ProbeServer) -> None:
    reply = await probe.stub.Read(
        ProbeRequest(text="t"), metadata=[("authorization", "Bearer long-gone")]
    )
    assert reply.text == "t"


async def test_staff_method_needs_role_and_permission(probe: ProbeServer) -> None:
    error = await refusal(probe.stub.StaffOnly(ProbeRequest(), metadata=probe.signed_in()))
    assert error.code() is DENIED
    assert reason_of(error) == "WIRE_ERROR_REASON_ACCESS_DENIED"
    assert await probe.audit_count("wire.access.denied") == 1

    table = probe.callers.callers
    table["admin"] = replace(USER, roles=frozenset({"admin"}))
    error = await refusal(probe.stub.StaffOnly(ProbeRequest(), metadata=probe.signed_in("admin")))
    assert error.code() is DENIED

    table["admin"] = replace(
        USER, roles=frozenset({"admin"}), permissions=frozenset({"probe.read"})
    )
    reply = await probe.stub.StaffOnly(ProbeRequest(), metadata=probe.signed_in("admin"))
    assert reply.text == "staff"
    assert await probe.audit_count("greenroom.probe.v1.ProbeService.StaffOnly") == 1


async def test_a_service_is_not_a_user(probe: ProbeServer) -> None:
    probe.callers.callers["bot"] = replace(USER, kind="service")
    error = await refusal(probe.stub.StepUp(ProbeRequest(), metadata=probe.signed_in("bot")))
    assert error.code() is DENIED


async def test_step_up_lasts_until_its_end(probe: ProbeServer) -> None:
    error = await refusal(probe.stub.StepUp(ProbeRequest(), metadata=probe.signed_in()))
    assert reason_of(error) == "WIRE_ERROR_REASON_STEP_UP_REQUIRED"
    until = probe.clock.now() + timedelta(minutes=5)
    probe.callers.callers["user"] = replace(USER, privileged_until=until)
    reply = await probe.stub.StepUp(ProbeRequest(), metadata=probe.signed_in())
    assert reply.text == "stepped up"
    probe.clock.advance(300)
    error = await refusal(probe.stub.StepUp(ProbeRequest(), metadata=probe.signed_in()))
    assert error.code() is DENIED


async def test_limit_per_address_follows_trusted_proxies(database_url: str) -> None:
    settings = load_settings({"DATABASE_URL": database_url})
    async with serve_probe(settings, address_rate=Rate(2, 60, 2)) as probe:
        first = [("x-forwarded-for", "203.0.113.9, 198.51.100.1")]
        for _ in range(2):
            await probe.stub.Read(ProbeRequest(), metadata=first)
        error = await refusal(probe.stub.Read(ProbeRequest(), metadata=first))
        assert error.code() is EXHAUSTED
        assert reason_of(error) == "WIRE_ERROR_REASON_RATE_LIMITED"
        assert 0 < (retry_after_of(error) or 0) <= 60
        # What a client writes itself does not count, only what the proxy appended.
        second = [("x-forwarded-for", "198.51.100.1, 198.51.100.2")]
        await probe.stub.Read(ProbeRequest(), metadata=second)
        probe.clock.advance(31)
        await probe.stub.Read(ProbeRequest(), metadata=first)


async def test_limit_per_caller(database_url: str) -> None:
    settings = load_settings({"DATABASE_URL": database_url})
    async with serve_probe(settings, class_rates={"WRITE": Rate(2, 60, 2)}) as probe:
        for _ in range(2):
            await probe.stub.Write(ProbeRequest(), metadata=probe.signed_in())
        error = await refusal(probe.stub.Write(ProbeRequest(), metadata=probe.signed_in()))
        assert reason_of(error) == "WIRE_ERROR_REASON_RATE_LIMITED"
        await probe.stub.Write(ProbeRequest(), metadata=probe.signed_in("other"))
        await probe.stub.Read(ProbeRequest())


async def test_denied_calls_are_counted_before_they_are_audited(database_url: str) -> None:
    settings = load_settings({"DATABASE_URL": database_url})
    async with serve_probe(settings, class_rates={"WRITE": Rate(3, 60, 3)}) as probe:
        denied, limited = [], []
        for _ in range(20):
            call = probe.stub.StaffOnly(ProbeRequest(), metadata=probe.signed_in())
            error = await refusal(call)
            (denied if error.code() is DENIED else limited).append(reason_of(error))
        assert len(denied) == 3 and set(limited) == {"WIRE_ERROR_REASON_RATE_LIMITED"}
        assert await probe.audit_count("wire.access.denied") == 3


async def test_streams_and_unary_calls_have_budgets_of_their_own(database_url: str) -> None:
    settings = load_settings({"DATABASE_URL": database_url})
    async with serve_probe(settings, unary_limit=2, stream_limit=2) as probe:
        streams = [
            probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in()) for _ in range(2)
        ]
        for stream in streams:
            await stream.read()
        third = probe.stub.Watch(ProbeRequest(count=1), metadata=probe.signed_in())
        error = await refusal(third.read())
        assert error.code() is EXHAUSTED
        assert reason_of(error) == "WIRE_ERROR_REASON_OVERLOADED"

        hanging = [
            asyncio.ensure_future(_settled(probe.stub.HangInUnit(ProbeRequest()))) for _ in "ab"
        ]
        while probe.wire.budget.in_flight < 2:
            await asyncio.sleep(0)
        error = await refusal(probe.stub.Read(ProbeRequest()))
        assert error.code() is EXHAUSTED
        assert reason_of(error) == "WIRE_ERROR_REASON_OVERLOADED"
        await asyncio.gather(*hanging)
        probe.probe.hanging.set()
        await probe.stub.Read(ProbeRequest())
        for stream in streams:
            stream.cancel()


async def _settled(call: object) -> None:
    await asyncio.gather(call, return_exceptions=True)  # type: ignore[call-overload]
