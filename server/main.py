"""The composition root: everything that one server process is made of. Read it top to bottom."""

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from server.auth import wiring as auth
from server.chat import wiring as chat
from server.chat.ports import MediaShelf
from server.core import idempotency as core_idempotency
from server.core import schema
from server.core.bus import Bus, open_bus
from server.core.clock import Clock, SystemClock
from server.core.config import Settings
from server.core.db import Database
from server.core.events import Events
from server.core.hashing import HashPool
from server.core.jobs import JobRunner, Jobs, delete_done
from server.core.limits import Counters, open_counters
from server.core.mail import open_mailer
from server.core.pagination import Pages
from server.core.parts import Parts
from server.core.rates import Rate
from server.core.sealing import load_keyring
from server.core.unit import AuditSink
from server.wire.admission import Admission
from server.wire.arrival import ArrivalReader
from server.wire.auth_ports import Authenticator
from server.wire.exchange import Exchange
from server.wire.idempotency import ReplyStore
from server.wire.logs import CallLog
from server.wire.metrics import CallMetrics
from server.wire.server import WireServer
from server.wire.service import Service
from server.wire.streams import StreamRegistry

logger = logging.getLogger(__name__)

NOTICE_SECONDS = 1.0
"""How long one of several servers still takes calls after it has said that it does not: Envoy asks for it
every half second, and what arrived later would be cancelled."""
QUIET_SECONDS = 0.5
MOST_NOTICE_SECONDS = 5.0
"""On a busy machine Envoy notices later: the server waits until it has had no call for half a second, but
no longer than this."""


class Module(Protocol):
    """What a module's ``wiring.build`` returns, as far as this file needs it."""

    @property
    def services(self) -> list[Service]:
        """What it serves."""
        ...

    async def start(self) -> None:
        """Begins whatever runs beside the calls."""
        ...

    async def stop(self) -> None:
        """Ends it, after the calls were drained."""
        ...


@dataclass
class Running:
    """A server that serves; ``stop`` drains it."""

    port: int
    wire: WireServer
    parts: Parts
    runner: JobRunner | None
    registry: CollectorRegistry
    streams: StreamRegistry
    _modules: list[Module]
    _log: CallLog

    async def retire(self, most: float) -> None:
        """Says NOT_SERVING and goes on serving until calls are sent elsewhere, at most so many seconds."""
        await self.wire.health.enter_graceful_shutdown()
        clock = asyncio.get_running_loop().time
        end = clock() + most
        quiet = clock() + NOTICE_SECONDS
        while clock() < min(end, quiet):
            await asyncio.sleep(0.02)
            if self.wire.budget.in_flight:
                quiet = max(quiet, clock() + QUIET_SECONDS)

    async def stop(self, seconds: float | None = None) -> None:
        """Drains within ``seconds`` (the setting DRAIN_SECONDS when ``None``) and lets go of all."""
        await self.wire.drain(self.parts.settings.drain_seconds if seconds is None else seconds)
        for module in reversed(self._modules):
            await module.stop()
        if self.runner is not None:
            await asyncio.to_thread(self.runner.stop)
        await self.parts.close()
        self._log.flush()


async def start(
    settings: Settings,
    *,
    clock: Clock | None = None,
    extra_services: Callable[[Parts], list[Service]] | None = None,
    shelf: MediaShelf | None = None,
) -> Running:
    """Starts one server process's worth of Greenroom on the running loop.

    ``extra_services`` adds services for tests of the wire itself, ``shelf`` media that can be sent: as long
    as no module has any, those of a test.
    """
    clock = clock or SystemClock()
    schema.require_current(settings.database_url)
    parts = await _parts(settings, clock)
    try:
        return await _start(parts, extra_services, shelf)
    except BaseException:
        # A method that nobody serves, say: whoever starts next in this process finds nothing open.
        await parts.close()
        raise


async def _start(
    parts: Parts,
    extra_services: Callable[[Parts], list[Service]] | None,
    shelf: MediaShelf | None,
) -> Running:
    settings = parts.settings
    registry = CollectorRegistry()
    streams = StreamRegistry(
        limit=settings.stream_limit,
        write_seconds=settings.stream_write_seconds,
        max_seconds=settings.stream_max_seconds,
    )
    log = CallLog(settings.log_format)

    auth_module = auth.build(parts)
    chat_module = chat.build(parts, directory=auth_module.directory, shelf=shelf)
    modules: list[Module] = [auth_module, chat_module]
    auth_module.authenticator.on_revoked(streams.close_session)
    auth_module.key_watch.on_withdrawn(streams.close_signed_by)
    _connect(parts, auth_module.audit_sink)

    services = [service for module in modules for service in module.services]
    if extra_services is not None:
        services += extra_services(parts)
    wire = WireServer(
        services,
        exchange=_exchange(parts, auth_module.authenticator, CallMetrics(registry), log),
        streams=streams,
        replies=ReplyStore(parts.keyring),
        unary_limit=settings.unary_limit,
        unary_deadline=settings.unary_deadline_seconds,
        message_bytes=settings.message_bytes,
        reflected=settings.reflection,
    )
    for module in modules:
        await module.start()
    runner = _start_jobs(parts) if settings.worker == "inline" else None
    port = await wire.start(f"{settings.grpc_host}:{settings.grpc_port}")
    _measure(registry, parts)
    return Running(port, wire, parts, runner, registry, streams, modules, log)


def _exchange(
    parts: Parts, authenticator: Authenticator, metrics: CallMetrics, log: CallLog
) -> Exchange:
    """What all calls have in common."""
    settings = parts.settings
    return Exchange(
        database=parts.database,
        clock=parts.clock,
        admission=Admission(
            authenticator=authenticator,
            counters=parts.counters,
            clock=parts.clock,
            address_rate=Rate.parse(settings.limit_address),
            class_rates=_class_rates(settings),
        ),
        arrivals=ArrivalReader(settings.trusted_proxies),
        metrics=metrics,
        log=log,
        log_requests=settings.log_requests,
    )


async def _parts(settings: Settings, clock: Clock) -> Parts:
    loop = asyncio.get_running_loop()
    keyring = load_keyring(settings)
    bus: Bus = open_bus(settings.bus_url, loop)
    await bus.start()
    counters: Counters = open_counters(settings.bus_url, clock)
    return Parts(
        settings=settings,
        clock=clock,
        database=Database.open(settings, clock),
        events=Events(),
        bus=bus,
        counters=counters,
        jobs=Jobs(clock),
        keyring=keyring,
        pages=Pages(keyring),
        mailer=open_mailer(settings),
        hash_pool=HashPool(settings.hash_workers, settings.hash_queue),
    )


def _register_core_jobs(jobs: Jobs) -> None:
    jobs.register("idempotency.forget_expired", core_idempotency.forget_expired)
    jobs.schedule("idempotency.forget_expired", "17 * * * *")
    jobs.register("jobs.delete_done", delete_done)
    jobs.schedule("jobs.delete_done", "27 3 * * *")


def _start_jobs(parts: Parts) -> JobRunner:
    runner = JobRunner(parts.database, parts.jobs, parts.clock)
    runner.start()
    return runner


def _class_rates(settings: Settings) -> dict[str, Rate | None]:
    return {
        "READ": Rate.parse(settings.limit_read),
        "WRITE": Rate.parse(settings.limit_write),
        "LOGIN": Rate.parse(settings.limit_login),
        "MAIL": Rate.parse(settings.limit_mail),
        "CHAT": Rate.parse(settings.limit_chat),
        "EPHEMERAL": Rate.parse(settings.limit_ephemeral),
        "STREAM": Rate.parse(settings.limit_stream),
    }


def _measure(registry: CollectorRegistry, parts: Parts) -> None:
    hashes = Gauge("greenroom_hash_queue", "Passwords waiting to be hashed.", registry=registry)
    hashes.set_function(lambda: parts.hash_pool.waiting)


def _connect(parts: Parts, audit_sink: AuditSink) -> None:
    """Lets units leave rows and tell of events, and says which jobs the core has."""
    parts.database.audit_sink = audit_sink
    parts.database.job_sink = parts.jobs.enqueue
    parts.database.participant = parts.events.take_part
    parts.database.publisher = parts.events.publish
    _register_core_jobs(parts.jobs)


async def work(settings: Settings) -> None:
    """Runs the jobs alone, for servers with WORKER=separate, until SIGTERM or SIGINT."""
    schema.require_current(settings.database_url)
    parts = await _parts(settings, SystemClock())
    auth_module = auth.build(parts)
    chat.take_part(parts, auth_module.directory)
    _connect(parts, auth_module.audit_sink)
    registry = CollectorRegistry()
    metrics, _thread = start_http_server(
        settings.metrics_port, settings.metrics_host, registry=registry
    )
    runner = _start_jobs(parts)
    logger.info("working, metrics on %s:%d", settings.metrics_host, metrics.server_port)
    await _signalled()
    await asyncio.to_thread(runner.stop)
    metrics.shutdown()
    await parts.close()


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends the process at once."""
    running = await start(settings)
    metrics, _thread = start_http_server(
        settings.metrics_port, settings.metrics_host, registry=running.registry
    )
    logger.info(
        "serving gRPC on %s:%d, metrics on %s:%d",
        settings.grpc_host,
        running.port,
        settings.metrics_host,
        metrics.server_port,
    )
    settle_memory()
    await _signalled()
    logger.info("draining, at most %.0f s", settings.drain_seconds)
    end = time.monotonic() + settings.drain_seconds
    if settings.processes > 1:
        await running.retire(min(MOST_NOTICE_SECONDS, settings.drain_seconds / 2))
    await running.stop(max(0.0, end - time.monotonic()))
    metrics.shutdown()
    logger.info("stopped")


def settle_memory() -> None:
    """Keeps the collector from going again and again through what lives as long as the process.

    What was imported and made at start-up is some hundred thousand objects; a call leaves no cycles
    behind, so young generations may grow larger before they are looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _signalled() -> None:
    """Returns at the first SIGTERM or SIGINT; another one ends the process at once."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if ended.is_set():
            os._exit(1)
        ended.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, on_signal)
    await ended.wait()
