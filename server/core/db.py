"""The database: models, and units of work run in threads that keep their connections.

Peewee may be used only inside a unit (:meth:`Database.run`, :meth:`Database.run_here`).
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from server.core.caller import CallContext
from server.core.clock import Clock
from server.core.config import Settings
from server.core.engine import Engine, open_engine
from server.core.errors import Aborted, DeadlineExceeded, Unavailable
from server.core.failures import DRIVER_ERRORS, Verdict, verdict_on
from server.core.fields import JsonField, TimestampField
from server.core.rows import (
    Model,
    Row,
    RowGone,
    database,
    locked,
    locked_one,
    locked_or_new,
    sql,
)
from server.core.unit import AuditSink, JobSink, Participant, Publisher, Unit
from server.core.workers import Workers
from server.core.writer_lock import NoLock, PoolBusy, WriterLock

__all__ = [
    "Database",
    "JsonField",
    "Model",
    "PoolBusy",
    "Row",
    "RowGone",
    "TimestampField",
    "database",
    "locked",
    "locked_one",
    "locked_or_new",
    "sql",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_TRIES = 5
"""How often a unit is run in all when it loses against others."""

_NO_CONTEXT = CallContext()
_writer_locks: WeakValueDictionary[str, WriterLock] = WeakValueDictionary()


class Database:
    """An open database. At most one is open in a process at a time."""

    def __init__(self, settings: Settings, clock: Clock, engine: Engine) -> None:
        self.kind = engine.kind
        self.clock = clock
        self.publisher: Publisher = _publish_nothing
        """Is given the events of each committed unit, in the thread that ran it."""
        self.participant: Participant = _take_no_part
        """Is given each event as it is emitted, inside its unit."""
        self.job_sink: JobSink = _no_jobs
        self.audit_sink: AuditSink = _no_audit
        self.retries = 0
        """Units that were run again, for the metrics."""
        self._engine = engine
        self.writer_lock: WriterLock | NoLock = NoLock()
        """Held by whoever writes to SQLite; a context manager that waits a bounded time."""
        workers = partial(
            Workers, wait_seconds=settings.database_wait_seconds, on_exit=engine.close_here
        )
        size = settings.database_pool_size
        if self.kind == "sqlite":
            self.writer_lock = _writer_lock_of(engine.database, settings.database_wait_seconds)
            # SQLite has one writer, so one thread writes, and writers never shut out readers.
            self._readers = workers(size - 1, "database-reader")
            self._writers = workers(1, "database-writer")
        else:
            self._readers = self._writers = workers(size, "database")

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Self:
        """Starts the threads and binds all models to this database; connects when there is work."""
        if database.obj is not None:
            raise RuntimeError("a database is open in this process; close it first")
        engine = open_engine(
            settings.database_url, statement_seconds=settings.database_statement_seconds
        )
        opened = cls(settings, clock, engine)
        database.initialize(engine)
        return opened

    @property
    def in_flight(self) -> int:
        """Units that run or wait for a thread, for the metrics."""
        if self._readers is self._writers:
            return self._readers.in_flight
        return self._readers.in_flight + self._writers.in_flight

    async def run(
        self,
        work: Callable[[Unit], T],
        *,
        write: bool,
        serializable: bool = False,
        deadline: float | None = None,
        context: CallContext | None = None,
    ) -> T:
        """Runs ``work`` in one transaction in a worker thread; returns what it returns, committed.

        Waits a bounded time for a thread, else :class:`PoolBusy`. Work that loses against others is
        run again as a whole, at most five times, then ``Aborted``. A lost connection is
        ``Unavailable``. Past ``deadline`` (``time.monotonic()``) nothing is committed and
        ``DeadlineExceeded`` raised. ``serializable`` isolates writes completely, and gives reads on
        PostgreSQL one snapshot for all statements; SQLite does both anyway. Cancelling the caller
        does not stop a transaction that has begun.
        """
        workers = self._writers if write else self._readers
        result: T = await workers.run(
            partial(self._perform, work, write, serializable, deadline, context or _NO_CONTEXT),
            deadline,
        )
        return result

    def run_here(
        self,
        work: Callable[[Unit], T],
        *,
        write: bool,
        serializable: bool = False,
        deadline: float | None = None,
        context: CallContext | None = None,
    ) -> T:
        """The same in the calling thread: for threads of jobs, the command line and tests."""
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("run_here would block the event loop; use run")
        return self._perform(work, write, serializable, deadline, context or _NO_CONTEXT)

    def savepoint(self) -> AbstractContextManager[Any]:
        """A part of the present unit that can fail alone."""
        return database.atomic()

    @contextmanager
    def dedicated(self) -> Iterator[Any]:
        """A DB-API connection of its own, in autocommit mode: SQL by hand, for the hottest paths.

        Who writes through it holds ``writer_lock``, and on SQLite begins with ``BEGIN IMMEDIATE``.
        """
        with self._engine.dedicated() as connection:
            yield connection

    def close_here(self) -> None:
        """Closes what :meth:`run_here` opened in this thread; call it before the thread ends."""
        self._engine.close_here()

    def close(self, seconds: float = 10.0) -> None:
        """Ends the threads, waiting ``seconds`` for their units at most, and all connections."""
        ended = self._readers.close(seconds)
        if self._writers is not self._readers:
            ended = self._writers.close(seconds) and ended
        if ended:
            self._engine.close_all()
        if database.obj is self._engine:
            database.initialize(None)

    def _perform(
        self,
        work: Callable[[Unit], T],
        write: bool,
        serializable: bool,
        deadline: float | None,
        context: CallContext,
    ) -> T:
        tries = 0
        while True:
            tries += 1
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded()
            unit = Unit(self, self.clock.now(), context, write=write)
            attempt = _Attempt(self._engine)
            try:
                if write:
                    with self.writer_lock:
                        result = attempt.run(work, unit, serializable, deadline)
                else:
                    result = attempt.run(work, unit, serializable, deadline)
            except DRIVER_ERRORS as error:
                self._retry_or_raise(error, attempt, tries, serializable)
            else:
                unit.settle(self.publisher)
                return result

    def _retry_or_raise(
        self, error: BaseException, attempt: "_Attempt", tries: int, serializable: bool
    ) -> None:
        verdict = verdict_on(error)
        if verdict is Verdict.LOST and attempt.connected:
            if not attempt.lost:
                raise error  # The connection is well: something else is wrong.
            if not attempt.fresh and not attempt.committing and tries == 1:
                # It had gone stale while it lay idle. Nothing is committed: take a new one.
                self.retries += 1
                return
        if verdict in (Verdict.LOST, Verdict.BROKEN):
            logger.warning("the database is not available: %s", str(error).strip())
            raise Unavailable(retry_after=1.0) from error
        if verdict is Verdict.CONFLICT:
            raise Aborted() from error
        if verdict is Verdict.TIMEOUT:
            raise DeadlineExceeded() from error
        again = verdict is Verdict.RETRY or (verdict is Verdict.DUPLICATE and serializable)
        if not again:
            raise error
        if tries >= MAX_TRIES:
            raise error if verdict is Verdict.DUPLICATE else Aborted() from error
        self.retries += 1
        time.sleep(random.uniform(0.001, 0.01) * 2**tries)


class _Attempt:
    """One run of some work, and how far it came."""

    __slots__ = ("_engine", "committing", "connected", "fresh", "lost")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.connected = False
        self.fresh = False
        self.committing = False
        self.lost = False

    def run(
        self, work: Callable[[Unit], T], unit: Unit, serializable: bool, deadline: float | None
    ) -> T:
        """Begins, works, commits; rolls back on any exception."""
        engine = self._engine
        self.fresh = engine.start_unit(unit, write=unit.write, serializable=serializable)
        self.connected = True
        try:
            result = work(unit)
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded()
            self.committing = True
            engine.commit_unit()
        except BaseException:
            self.lost = engine.abandon_unit()
            raise
        return result


def _writer_lock_of(path: str, seconds: float) -> WriterLock:
    with _registry:
        lock = _writer_locks.get(path)
        if lock is None:
            lock = _writer_locks[path] = WriterLock(seconds)
        return lock


_registry = threading.Lock()


def _take_no_part(_unit: Unit, _event: object) -> None:
    """Until somebody joins, units are alone."""


def _publish_nothing(_events: list[object]) -> None:
    """Until a publisher is set, nobody listens."""


def _no_jobs(
    unit: Unit,
    job: str,
    arguments: dict[str, Any],
    *,
    run_at: datetime | None = None,
    key: str | None = None,
) -> object:
    raise RuntimeError("no job sink is set on the database")


def _no_audit(
    unit: Unit,
    action: str,
    *,
    resource: str,
    result: str,
    actor_id: str | None,
    metadata: Mapping[str, Any],
) -> object:
    raise RuntimeError("no audit sink is set on the database")
