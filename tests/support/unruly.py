"""A server that misbehaves on purpose, and a client of it that neither waits nor rolls dice."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_pb2, event_pb2
from greenroom.chat.v1 import event_service_pb2 as event_service
from greenroom_client.calls import Rhythm
from greenroom_client.tokens import MemoryTokenStore, Tokens, TokenStore

CHANNEL = "0198f0a0-0000-7000-8000-000000000001"
STALE = "WIRE_ERROR_REASON_CREDENTIALS_INVALID"
START = Tokens("access-1", 10_000, "refresh-1", 100_000)

Connection = Callable[[Any, aio.ServicerContext], AsyncIterator[Any]]


def details(code: grpc.StatusCode, reason: str, retry_after: float | None = None) -> Any:
    """Trailing metadata that says why, as Greenroom does."""
    status = status_pb2.Status(code=code.value[0])
    found: list[Any] = [error_details_pb2.ErrorInfo(reason=reason)]
    if retry_after is not None:
        delay = duration_pb2.Duration(nanos=int(retry_after * 1e9))
        found.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in found:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def message(seq: int, epoch: int = 1) -> event_pb2.ChatEvent:
    """The event of one message."""
    return event_pb2.ChatEvent(
        channel_id=CHANNEL,
        epoch=epoch,
        seq=seq,
        message=channel_pb2.Message(channel_id=CHANNEL, seq=seq, text=f"m{seq}"),
    )


class Unruly(grpc.GenericRpcHandler):
    """Its tokens are numbered; its streams follow a script, one line a connection, then fall silent."""

    def __init__(self) -> None:
        self.streams: deque[Connection] = deque()
        self.opened: list[Any] = []
        """The request of each connection, in the case of Connect its ``Subscribe``."""
        self.commands: list[event_service.ConnectRequest] = []
        self.refreshed: list[str] = []
        self.holds: list[asyncio.Event] = []
        """Each renewal waits for the next of them, after it was done."""
        self.failures: deque[tuple[grpc.StatusCode, str]] = deque()
        """What the next renewals say instead of the new tokens, after they were made."""
        self.good = {"Bearer access-1"}
        self.life = 900

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        if name == "RefreshToken":
            return grpc.unary_unary_rpc_method_handler(
                self.refresh,
                auth_pb.RefreshTokenRequest.FromString,
                auth_pb.RefreshTokenResponse.SerializeToString,
            )
        if name == "WatchEvents":
            return grpc.unary_stream_rpc_method_handler(
                self.watch,
                event_service.WatchEventsRequest.FromString,
                event_service.WatchEventsResponse.SerializeToString,
            )
        if name == "Connect":
            return grpc.stream_stream_rpc_method_handler(
                self.connect,
                event_service.ConnectRequest.FromString,
                event_service.ConnectResponse.SerializeToString,
            )
        return grpc.unary_unary_rpc_method_handler(self.anything)

    async def refresh(self, request: Any, context: Any) -> auth_pb.RefreshTokenResponse:
        """Makes the next pair."""
        self.refreshed.append(request.refresh_token)
        number = int(request.refresh_token.rpartition("-")[2]) + 1
        reply = auth_pb.RefreshTokenResponse()
        reply.tokens.access_token = f"access-{number}"
        reply.tokens.refresh_token = f"refresh-{number}"
        reply.tokens.access_expire_time.FromSeconds(9_900 + self.life)
        self.good.add(f"Bearer access-{number}")
        if self.holds:
            await self.holds.pop(0).wait()
        if self.failures:
            code, reason = self.failures.popleft()
            await context.abort(code, "failed", details(code, reason))
        return reply

    async def anything(self, _raw: bytes, context: Any) -> bytes:
        """Any other method: empty, for whoever has a token that is good."""
        await self._check(context)
        return b""

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """The next line of the script."""
        self.opened.append(request)
        await self._check(context)
        async for reply in self._next()(request, context):
            yield reply

    async def connect(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """The next line of the script."""
        first = await anext(requests)
        self.opened.append(first.subscribe)
        await self._check(context)
        async for reply in self._next()(self._noted(requests), context):
            yield reply

    async def _noted(self, requests: Any) -> AsyncIterator[event_service.ConnectRequest]:
        async for request in requests:
            self.commands.append(request)
            yield request

    def _next(self) -> Connection:
        return self.streams.popleft() if self.streams else silence

    async def _check(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        if metadata.get("authorization") not in self.good:
            code = grpc.StatusCode.UNAUTHENTICATED
            await context.abort(code, "stale", details(code, STALE))


async def silence(_request: Any, _context: Any) -> AsyncIterator[Any]:
    """Says nothing and never ends."""
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def unruly(
    *, store: TokenStore | None = None, now: Callable[[], float] = lambda: 0.0, silence: float = 30
) -> AsyncIterator[tuple[Unruly, greenroom_client.Client, list[float]]]:
    """The server, a client that is signed in, and how long the client would have slept."""
    handler = Unruly()
    server = aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        await asyncio.sleep(0)

    rhythm = Rhythm(sleep=sleep, random=lambda: 1.0, silence=silence)
    try:
        async with greenroom_client.connect(
            f"127.0.0.1:{port}",
            token_store=store or MemoryTokenStore(START),
            now=now,
            rhythm=rhythm,
        ) as client:
            yield handler, client, slept
    finally:
        await server.stop(0)
