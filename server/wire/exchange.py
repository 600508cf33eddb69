"""What all four kinds of method share: admission before the servicer, the figures after it."""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any, TypeAlias

from google.protobuf.message import Message

from server.core.clock import Clock
from server.core.db import Database
from server.core.errors import DeadlineExceeded, GreenroomError
from server.core.unit import Unit
from server.wire.admission import Admission, Gate
from server.wire.arrival import ArrivalReader, Context
from server.wire.call import Call
from server.wire.logs import CallLog
from server.wire.metrics import CallMetrics
from server.wire.policies import MethodRule
from server.wire.redaction import redacted
from server.wire.status import InternalError

logger = logging.getLogger(__name__)

Finish: TypeAlias = Callable[[Call, str, GreenroomError | None, Message | None], None]
"""Takes a call, its code and, where there are, its error and its request."""


class Exchange:
    """The shared machinery that every handler is made with."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        admission: Admission,
        arrivals: ArrivalReader,
        metrics: CallMetrics,
        log: CallLog,
        log_requests: str,
    ) -> None:
        self.database = database
        self.clock = clock
        self.admission = admission
        self.metrics = metrics
        self.arrivals = arrivals
        self._log = log
        self._log_requests = log_requests
        # Counted beside the making of its line, and at the latest when somebody asks.
        log.count = metrics.count
        metrics.settle = log.flush

    def open(
        self, rule: MethodRule, context: Context, task: "asyncio.Task[Any] | None"
    ) -> tuple[Call, str]:
        """The call that a task serves and the bearer token that came with it; checks nothing."""
        call = Call(rule, self)
        token = self.arrivals.read(call, context, task)
        remaining = context.time_remaining()
        limit = rule.deadline
        if limit is None or (remaining is not None and remaining < limit):
            limit = remaining
        if limit is not None:
            call.deadline = call.opened + limit
        return call, token

    def gate(self, rule: MethodRule) -> Gate:
        """The admission to a method."""
        return Gate(self.admission, rule, self.audit_denial)

    async def audit_denial(self, call: Call, denial: GreenroomError) -> None:
        """A denied call of an audited method leaves a row, like the effect it did not have: denied by
        the policy, or behind it by a rule that has undone its unit."""

        def work(unit: Unit) -> None:
            unit.audit("wire.access.denied", resource=call.method, result=denial.reason)

        await call.run(work)

    def foreseen(self, call: Call, error: BaseException) -> GreenroomError:
        """The error that the caller is told: itself when it is ours, INTERNAL when it is not."""
        if isinstance(error, GreenroomError):
            return error
        if isinstance(error, TimeoutError):
            return DeadlineExceeded()
        logger.error(
            "unforeseen error in %s",
            call.method,
            exc_info=error,
            extra={"fields": {"request_id": call.request_id, "method": call.method}},
        )
        return InternalError(request_id=call.request_id)

    def finisher(self, rule: MethodRule) -> Finish:
        """What has a finished call of a method counted and its line written."""
        self.metrics.add(rule.full_name)
        log = self._log
        shows_all = self._log_requests == "all"
        shows_failed = shows_all or self._log_requests == "failed"

        def finish(
            call: Call, code: str, error: GreenroomError | None, request: Message | None
        ) -> None:
            seconds = monotonic() - call.opened
            reason, shows = ("", shows_all) if error is None else (error.reason, shows_failed)
            shown = redacted(request) if shows and request is not None else None
            log.write((time(), call, code, seconds, reason, shown))

        return finish
