"""The unit of work: what one transaction does, and what follows from it once it is committed."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from server.core.caller import CallContext, Caller

if TYPE_CHECKING:
    from server.core.db import Database

logger = logging.getLogger(__name__)


class JobSink(Protocol):
    """Writes a job row inside the unit's transaction."""

    def __call__(
        self,
        unit: "Unit",
        job: str,
        arguments: dict[str, Any],
        *,
        run_at: datetime | None = None,
        key: str | None = None,
    ) -> object:
        """Enqueues ``job``; see :meth:`Unit.enqueue`."""
        ...


class AuditSink(Protocol):
    """Writes an audit row inside the unit's transaction."""

    def __call__(
        self,
        unit: "Unit",
        action: str,
        *,
        resource: str,
        result: str,
        actor_id: str | None,
        metadata: Mapping[str, Any],
    ) -> object:
        """Records ``action``; see :meth:`Unit.audit`."""
        ...


Participant = Callable[["Unit", object], object]
"""Is given each event of a unit inside of it, as it is emitted."""

Publisher = Callable[[list[object]], object]
"""Is given the events of a committed unit, in the order they were emitted."""


class Unit:
    """One transaction in one thread. What is tried again is another unit: nothing carries over.

    ``write`` says whether the unit may change rows. Work must have no effect outside the database
    before the commit: it may run several times (serialization failures, a lost connection).
    """

    __slots__ = (
        "_after_commit",
        "_database",
        "_events",
        "audited",
        "context",
        "now",
        "write",
    )

    def __init__(
        self, database: "Database", now: datetime, context: CallContext, *, write: bool
    ) -> None:
        self._database = database
        self.now = now
        """The one instant of everything this unit does (aware, UTC)."""
        self.context = context
        self.write = write
        self.audited = False
        """Whether the unit has written an audit row of its own."""
        self._events: list[object] = []
        self._after_commit: list[Callable[[], object]] = []

    @property
    def caller(self) -> Caller:
        """Who asked for it; anonymous in jobs and on the command line."""
        return self.context.caller

    @property
    def request_id(self) -> str:
        """Id of the call, for logs and audit rows; empty outside a call."""
        return self.context.request_id

    @property
    def address(self) -> str:
        """Network address of the client; empty outside a call."""
        return self.context.address

    @property
    def user_agent(self) -> str:
        """What the client calls itself; empty outside a call."""
        return self.context.user_agent

    def emit(self, event: object) -> None:
        """Has ``event`` published once the unit is committed; never when it is rolled back. Whoever takes
        part in such units does so now."""
        self._database.participant(self, event)
        self._events.append(event)

    def after_commit(self, function: Callable[[], object]) -> None:
        """Has ``function`` called after the commit and the events, before the caller is answered.

        Its exceptions are logged and change nothing: the unit is committed.
        """
        self._after_commit.append(function)

    def enqueue(
        self,
        job: str,
        arguments: dict[str, Any],
        *,
        run_at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Enqueues a job in this transaction, to run from ``run_at`` on (at once when ``None``).

        While a job with the same ``key`` is unfinished, a second one is not made.
        """
        self._database.job_sink(self, job, arguments, run_at=run_at, key=key)

    def audit(
        self,
        action: str,
        *,
        resource: str = "",
        result: str = "OK",
        actor_id: str | None = None,
        **metadata: Any,
    ) -> None:
        """Writes an audit row in this transaction; ``actor_id`` is the caller's unless given."""
        self.audited = True
        self._database.audit_sink(
            self,
            action,
            resource=resource,
            result=result,
            actor_id=actor_id,
            metadata=metadata,
        )

    def savepoint(self) -> AbstractContextManager[Any]:
        """A part of the unit that can fail alone, for statements whose error is caught.

        PostgreSQL refuses everything after an error until the savepoint around it is left.
        """
        return self._database.savepoint()

    def settle(self, publisher: Publisher) -> None:
        """Publishes the events, then calls what :meth:`after_commit` took; for ``core.db``."""
        if self._events:
            try:
                publisher(self._events)
            except Exception:
                logger.exception("publishing the events of a committed unit failed")
        for function in self._after_commit:
            try:
                function()
            except Exception:
                logger.exception("a callback of a committed unit failed")
