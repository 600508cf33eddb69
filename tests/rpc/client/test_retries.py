"""The Python client against a server that fails on purpose."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom_client.calls import Rhythm
from greenroom_client.tokens import MemoryTokenStore, Tokens


class Failing:
    """Answers any method of AuthService after failing as often as it was told to."""

    def __init__(self) -> None:
        self.failures: list[tuple[grpc.StatusCode, str, float | None]] = []
        self.requests: list[tuple[str, bytes]] = []
        self.tokens: list[str] = []
        self.replies: dict[str, Callable[[], bytes]] = {}

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]

        async def handle(raw: bytes, context: Any) -> bytes:
            self.requests.append((name, raw))
            metadata = dict(context.invocation_metadata())
            self.tokens.append(metadata.get("authorization", ""))
            if self.failures:
                code, reason, retry_after = self.failures.pop(0)
                await context.abort(code, "failed", _trailing(code, reason, retry_after))
            return self.replies.get(name, lambda: b"")()

        return grpc.unary_unary_rpc_method_handler(handle)


def _trailing(code: grpc.StatusCode, reason: str, retry_after: float | None) -> Any:
    status = status_pb2.Status(code=code.value[0])
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason)]
    if retry_after is not None:
        delay = duration_pb2.Duration(nanos=int(retry_after * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


@pytest.fixture
async def failing() -> AsyncIterator[tuple[Failing, Any, list[float]]]:
    """The server, a client that is signed in, and how long the client slept."""
    failing = Failing()
    server = aio.server()
    server.add_generic_rpc_handlers((failing,))  # type: ignore[arg-type]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    store = MemoryTokenStore(Tokens("access-1", 10_000, "refresh-1", 100_000))
    rhythm = Rhythm(sleep=sleep, random=lambda: 1.0)
    client = greenroom_client.connect(
        f"127.0.0.1:{port}", token_store=store, now=lambda: 0.0, rhythm=rhythm
    )
    yield failing, client, slept
    await client.close()
    await server.stop(0)


UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "", None)


async def test_a_read_is_tried_again(failing: Any) -> None:
    server, client, slept = failing
    server.failures = [UNAVAILABLE, UNAVAILABLE]
    await client.auth.GetMe(pb.GetMeRequest())
    assert len(server.requests) == 3
    assert slept == [0.1, 0.2]


async def test_at_most_four_attempts(failing: Any) -> None:
    server, client, _slept = failing
    server.failures = [UNAVAILABLE] * 9
    with pytest.raises(aio.AioRpcError):
        await client.auth.GetMe(pb.GetMeRequest())
    assert len(server.requests) == 4


async def test_log_in_is_never_repeated(failing: Any) -> None:
    server, client, _slept = failing
    server.failures = [UNAVAILABLE]
    with pytest.raises(aio.AioRpcError):
        await client.log_in(email="a@example.com", password="x")
    assert len(server.requests) == 1


async def test_one_request_id_for_all_attempts(failing: Any) -> None:
    server, client, _slept = failing
    server.failures = [UNAVAILABLE]
    request = pb.VerifyEmailRequest(token="t")
    await client.auth.VerifyEmail(request)
    await client.auth.VerifyEmail(request)
    ids = [pb.VerifyEmailRequest.FromString(raw).request_id for _name, raw in server.requests]
    assert ids[0] == ids[1] != ids[2]
    assert request.request_id == ""


async def test_a_busy_server_says_when_to_come_back(failing: Any) -> None:
    server, client, slept = failing
    server.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY", 0.75)]
    await client.auth.GetMe(pb.GetMeRequest())
    assert slept == [0.75]
    server.failures = [(grpc.StatusCode.RESOURCE_EXHAUSTED, "BUSY", None)]
    with pytest.raises(aio.AioRpcError):
        await client.auth.GetMe(pb.GetMeRequest())


async def test_retries_stop_in_an_outage(failing: Any) -> None:
    server, client, _slept = failing
    server.failures = [UNAVAILABLE] * 100
    for _ in range(10):
        with pytest.raises(aio.AioRpcError):
            await client.auth.GetMe(pb.GetMeRequest())
    assert len(server.requests) < 20


async def test_a_stale_token_is_renewed_once(failing: Any) -> None:
    server, client, _slept = failing
    server.failures = [
        (grpc.StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID", None)
    ]
    pair = pb.RefreshTokenResponse()
    pair.tokens.access_token, pair.tokens.refresh_token = "access-2", "refresh-2"
    pair.tokens.access_expire_time.FromSeconds(10_000)
    server.replies["RefreshToken"] = pair.SerializeToString
    await client.auth.GetMe(pb.GetMeRequest())
    assert [name for name, _raw in server.requests] == ["GetMe", "RefreshToken", "GetMe"]
    assert server.tokens == ["Bearer access-1", "", "Bearer access-2"]


async def test_a_dead_family_signs_out(failing: Any) -> None:
    server, client, _slept = failing
    stale = (grpc.StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID", None)
    reused = (grpc.StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED", None)
    server.failures = [stale, reused]
    with pytest.raises(greenroom_client.SignedOut):
        await client.auth.GetMe(pb.GetMeRequest())
    assert not client.is_signed_in


def test_tokens_in_a_file_are_their_owners_alone(tmp_path: Any) -> None:
    store = greenroom_client.FileTokenStore(tmp_path / "sub" / "tokens.json")
    assert store.load() is None
    tokens = Tokens("a", 1, "r", 2)
    store.save(tokens)
    assert store.load() == tokens
    assert (tmp_path / "sub" / "tokens.json").stat().st_mode & 0o077 == 0
    assert "a" not in repr(tokens).removeprefix("Tokens(access_expires=")
    store.save(None)
    assert store.load() is None
