"""The gRPC server of one process: registration, start, drain."""

import asyncio
import logging
from collections.abc import Sequence

import grpc
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.wire.arrival import ArrivalReader
from server.wire.exchange import Exchange
from server.wire.idempotency import ReplyStore
from server.wire.policies import MethodKind, check_contract, rule_of
from server.wire.service import Service
from server.wire.streaming import stream_handler
from server.wire.streams import StreamRegistry
from server.wire.unary import UnaryBudget, unary_handler

logger = logging.getLogger(__name__)

STREAM_DRAIN_SHARE = 0.6
"""Share of the drain time that open streams get to take their End; the rest is for unary calls."""


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a method by its path; called in the task that will run it, just before."""

    def __init__(
        self, handlers: dict[str, "grpc.RpcMethodHandler[bytes, bytes]"], arrivals: ArrivalReader
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._handlers = handlers
        self._arrivals = arrivals

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        self._arrivals.found = (
            asyncio.current_task(self._loop),
            handler_call_details.invocation_metadata or (),
        )
        return self._handlers.get(handler_call_details.method)


class WireServer:
    """All services behind one port."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        exchange: Exchange,
        streams: StreamRegistry,
        replies: ReplyStore,
        unary_limit: int,
        unary_deadline: float,
        message_bytes: int,
        reflected: bool,
    ) -> None:
        check_contract(_methods(services))
        self._streams = streams
        self.budget = UnaryBudget(unary_limit)
        self._server = aio.server(options=_options(message_bytes))
        self._names = [service.descriptor.full_name for service in services]
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for service in services:
            for descriptor in service.descriptor.methods:
                rule = rule_of(descriptor, default_deadline=unary_deadline)
                servicer = service.method(descriptor.name)
                handlers[rule.path] = (
                    unary_handler(exchange, self.budget, replies, rule, servicer)
                    if rule.kind is MethodKind.UNARY
                    else stream_handler(exchange, streams, rule, servicer)
                )
        self._server.add_generic_rpc_handlers((_Handlers(handlers, exchange.arrivals),))
        self.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if reflected:
            reflection.enable_server_reflection(
                (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
            )
        exchange.metrics.open_streams.set_function(lambda: len(streams))
        exchange.metrics.unary_in_flight.set_function(lambda: self.budget.in_flight)

    async def start(self, address: str) -> int:
        """Binds, serves, and says SERVING; returns the port. ``RuntimeError`` on a taken port."""
        port = self._server.add_insecure_port(address)
        await self._server.start()
        await self.set_serving(True)
        return port

    async def set_serving(self, serving: bool) -> None:
        """Sets the health of every service and of the server as a whole."""
        state = health_pb2.HealthCheckResponse.ServingStatus
        status = state.SERVING if serving else state.NOT_SERVING
        for name in ("", *self._names):
            await self.health.set(name, status)

    async def drain(self, seconds: float) -> None:
        """Ends in order: NOT_SERVING, no new streams, every stream gets its End, calls finish.

        grpcio's own ``stop`` would wait for streams in vain and then cut them, so they are asked to
        end first. Returns within ``seconds``.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        await self.health.enter_graceful_shutdown()
        if not await self._streams.drain(seconds * STREAM_DRAIN_SHARE):
            logger.warning("%d streams did not take their end", len(self._streams))
        await self._server.stop(max(0.0, end - loop.time()))


def _methods(services: Sequence[Service]) -> list[MethodDescriptor]:
    return [method for service in services for method in service.descriptor.methods]


def _options(message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", message_bytes),
        ("grpc.so_reuseport", 0),
        # Above what Envoy lets through, so that whoever sends too much is told so by Envoy.
        ("grpc.max_metadata_size", 64 * 1024),
        # After a deploy all streams come back at once. By default gRPC cancels at random what waits
        # beyond 1,000; our own budgets refuse with a reason and a time to come back.
        ("grpc.server.max_pending_requests", 100_000),
        ("grpc.server.max_pending_requests_hard_limit", 100_000),
        # A peer that vanished is noticed within a minute even when nothing is being written.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 2),
        # One stalled reader must not pin megabytes of this process.
        ("grpc.http2.write_buffer_size", 64 * 1024),
    ]
