"""The wrappers of the three kinds of method that stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from server.core.errors import GreenroomError, Refused
from server.wire.arrival import Context
from server.wire.call import Call
from server.wire.exchange import Exchange
from server.wire.policies import MethodKind, MethodRule
from server.wire.status import abort
from server.wire.streams import OpenStream, StreamRegistry
from server.wire.validation import decoder, request_missing

ABORT_SECONDS = 5.0
"""How long the status of a cut stream may take to leave; the transport is cancelled after that."""
REQUEST_SECONDS = 10.0
"""How long the one request of a server stream may take to arrive."""


def stream_handler(
    exchange: Exchange, streams: StreamRegistry, rule: MethodRule, servicer: Callable[..., Any]
) -> "grpc.RpcMethodHandler[bytes, bytes]":
    """A handler for the kind of the rule."""
    stream = _Streaming(exchange, streams, rule, servicer)
    match rule.kind:
        case MethodKind.SERVER_STREAM:
            # It reads its one request itself: see unary_handler.
            return grpc.stream_stream_rpc_method_handler(stream.serve_one)
        case MethodKind.CLIENT_STREAM:
            return grpc.stream_unary_rpc_method_handler(stream.collect)
        case _:
            return grpc.stream_stream_rpc_method_handler(stream.serve_many)


class _Streaming:
    def __init__(
        self,
        exchange: Exchange,
        streams: StreamRegistry,
        rule: MethodRule,
        servicer: Callable[..., Any],
    ) -> None:
        self._exchange = exchange
        self._streams = streams
        self._rule = rule
        self._servicer = servicer
        self._finish = exchange.finisher(rule)
        self._decode = decoder(rule)
        self._gate = exchange.gate(rule)

    async def serve_one(self, _requests: object, context: Context) -> None:
        """One request in, replies out."""

        async def body(call: Call, stream: OpenStream) -> None:
            async with asyncio.timeout(REQUEST_SECONDS):
                raw = await context.read()
            if raw is aio.EOF:
                await request_missing(self._rule)
            request = self._decode(raw)
            await self._write_all(self._servicer(request, call), context, stream)

        await self._serve(context, body)

    async def serve_many(self, _requests: object, context: Context) -> None:
        """Requests in, replies out."""

        async def body(call: Call, stream: OpenStream) -> None:
            requests = self._requests(context)
            await self._write_all(self._servicer(requests, call), context, stream)

        await self._serve(context, body)

    async def collect(self, _requests: object, context: Context) -> bytes:
        """Requests in, one reply out."""
        replies: list[bytes] = []

        async def body(call: Call, _stream: OpenStream) -> None:
            reply = await self._servicer(self._requests(context), call)
            if isinstance(reply, Refused):
                raise reply.error
            replies.append(reply if isinstance(reply, bytes) else reply.SerializeToString())

        await self._serve(context, body)
        return replies[0]

    async def _serve(self, context: Context, body: Callable[[Call, OpenStream], Any]) -> None:
        exchange = self._exchange
        task = asyncio.current_task()
        assert task is not None
        call, token = exchange.open(self._rule, context, task)
        stream: OpenStream | None = None
        try:
            self._streams.admit()
            waiting = self._gate.admit(call, token)
            if waiting is not None:
                await waiting
            stream = self._streams.add(call, task)
            async with asyncio.timeout(call.remaining()):
                await body(call, stream)
        except asyncio.CancelledError:
            if stream is None or not stream.stalled:
                self._finish(call, "CANCELLED", None, None)
                raise
            stream.task.uncancel()
            error: GreenroomError = call.stalled_error(retry_after=1.0)
        except Exception as raised:
            error = exchange.foreseen(call, raised)
        else:
            self._finish(call, "OK", None, None)
            return
        finally:
            if stream is not None:
                self._streams.remove(stream)
        self._finish(call, error.code, error, None)
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await abort(context, error, call.request_id)
        except TimeoutError:
            # The reader does not even take the status: grpcio resets the stream of a cancelled task.
            raise asyncio.CancelledError from None

    async def _write_all(
        self, replies: AsyncIterator[Any], context: Context, stream: OpenStream
    ) -> None:
        clock = asyncio.get_running_loop().time
        try:
            async for reply in replies:
                encoded = reply if type(reply) is bytes else reply.SerializeToString()
                stream.writing_since = clock()
                await context.write(encoded)
                stream.writing_since = 0.0
        finally:
            closing = getattr(replies, "aclose", None)
            if closing is not None:
                await closing()

    async def _requests(self, context: Context) -> AsyncIterator[Message]:
        while True:
            raw = await context.read()
            if raw is aio.EOF:
                return
            yield self._decode(raw)
