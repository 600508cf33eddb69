"""The wire alone: the probe service on a real server, a real database and a table of callers."""

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from grpc import aio
from prometheus_client import CollectorRegistry

from server.core.caller import Caller
from server.core.clock import ManualClock
from server.core.config import Settings
from server.core.db import Database
from server.core.errors import CredentialsInvalid
from server.core.limits import MemoryCounters
from server.core.rates import Rate
from server.core.sealing import Keyring
from server.core.unit import Unit
from server.wire.admission import Admission
from server.wire.arrival import ArrivalReader
from server.wire.exchange import Exchange
from server.wire.idempotency import ReplyStore
from server.wire.logs import CallLog
from server.wire.metrics import CallMetrics
from server.wire.server import WireServer
from server.wire.streams import StreamRegistry
from tests.support.probe import Probe, ProbeStub

USER = Caller(
    kind="user",
    user_id="01890000-0000-7000-8000-000000000001",
    session_id="01890000-0000-7000-8000-00000000000a",
    roles=frozenset({"creator"}),
)
OTHER = Caller(
    kind="user",
    user_id="01890000-0000-7000-8000-000000000002",
    session_id="01890000-0000-7000-8000-00000000000b",
)


class CallerTable:
    """An Authenticator whose tokens are the names of callers."""

    remembered = False
    """True when it knows all of them without looking them up."""

    def __init__(self) -> None:
        self.callers = {"user": USER, "other": OTHER}
        self.listeners: list[Callable[[str], None]] = []

    def authenticate_cached(self, token: str) -> Caller | None:
        return self.callers.get(token) if self.remembered else None

    async def authenticate(self, token: str) -> Caller:
        if token not in self.callers:
            raise CredentialsInvalid()
        return self.callers[token]

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        self.listeners.append(listener)


@dataclass
class ProbeServer:
    """A running probe and what a test needs to look behind it."""

    stub: Any
    channel: aio.Channel
    probe: Probe
    wire: WireServer
    streams: StreamRegistry
    callers: CallerTable
    database: Database
    registry: CollectorRegistry
    clock: ManualClock
    admission: Admission
    _log: CallLog
    _out: io.BytesIO
    audited: list[tuple[str, str, str]] = field(default_factory=list)

    def signed_in(self, name: str = "user") -> list[tuple[str, str]]:
        """Metadata of a caller of the table."""
        return [("authorization", f"Bearer {name}")]

    async def audit_count(self, action: str) -> int:
        """How many committed audit rows an action has left."""

        def work(unit: Unit) -> int:
            from server.core.db import database

            cursor = database.execute_sql(
                f"SELECT count(*) FROM probe_audit WHERE action = '{action}'"
            )
            return int(cursor.fetchone()[0])

        return await self.database.run(work, write=False)

    def logged(self) -> str:
        """Every call line so far."""
        self._log.flush()
        return self._out.getvalue().decode()


@asynccontextmanager
async def serve_probe(
    settings: Settings,
    *,
    unary_limit: int = 64,
    stream_limit: int = 64,
    address_rate: Rate | None = None,
    class_rates: dict[str, Rate | None] | None = None,
) -> AsyncIterator[ProbeServer]:
    """Serves the probe on a free port of the loopback until the block is left."""
    clock = ManualClock()
    database = Database.open(settings, clock)
    database.audit_sink = _audit
    await database.run(_create_table, write=True)
    registry, out = CollectorRegistry(), io.BytesIO()
    log = CallLog("json", out)  # type: ignore[arg-type]
    callers, probe = CallerTable(), Probe()
    streams = StreamRegistry(limit=stream_limit, write_seconds=0.5, max_seconds=3600)
    callers.on_revoked(streams.close_session)
    admission = Admission(
        authenticator=callers,
        counters=MemoryCounters(clock),
        clock=clock,
        address_rate=address_rate,
        class_rates=class_rates or {},
    )
    exchange = Exchange(
        database=database,
        clock=clock,
        admission=admission,
        arrivals=ArrivalReader(["127.0.0.1/32", "::1/128"]),
        metrics=CallMetrics(registry),
        log=log,
        log_requests="failed",
    )
    wire = _wire(probe, exchange, streams, unary_limit)
    port = await wire.start("127.0.0.1:0")
    channel = aio.insecure_channel(f"127.0.0.1:{port}")
    try:
        yield ProbeServer(
            ProbeStub(channel),
            channel,
            probe,
            wire,
            streams,
            callers,
            database,
            registry,
            clock,
            admission,
            log,
            out,
        )
    finally:
        probe.hanging.set()
        await channel.close()
        await wire.drain(2)
        database.close()


def _wire(
    probe: Probe, exchange: Exchange, streams: StreamRegistry, unary_limit: int
) -> WireServer:
    return WireServer(
        [probe.service()],
        exchange=exchange,
        streams=streams,
        replies=ReplyStore(Keyring({"test": b"k" * 32})),
        unary_limit=unary_limit,
        unary_deadline=30.0,
        message_bytes=1 << 20,
        reflected=True,
    )


def _create_table(unit: Unit) -> None:
    from server.core.db import database

    database.execute_sql("CREATE TABLE probe_audit (action text, resource text, result text)")


def _audit(
    unit: Unit, action: str, *, resource: str, result: str, actor_id: object, metadata: object
) -> None:
    from server.core.db import database

    mark = database.param
    database.execute_sql(
        f"INSERT INTO probe_audit VALUES ({mark}, {mark}, {mark})",
        (action, resource, result),
    )
