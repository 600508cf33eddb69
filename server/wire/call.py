"""One call, as a servicer sees it."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from server.core.caller import ANONYMOUS, CallContext, Caller
from server.core.errors import GreenroomError, ResourceExhausted

if TYPE_CHECKING:
    from server.core.clock import Clock
    from server.core.unit import Unit
    from server.wire.exchange import Exchange
    from server.wire.policies import MethodRule

T = TypeVar("T")


class Closing:
    """Tells an open stream that it has to end, and why.

    Reasons: ``DRAINING`` (the server shuts down), ``SESSION_ENDED`` (the caller's session or rights
    are gone), ``MAX_DURATION``.
    """

    __slots__ = ("_event", "reason")

    def __init__(self) -> None:
        self.reason: str | None = None
        self._event: asyncio.Event | None = None

    def close(self, reason: str) -> None:
        """Asks the stream to end; the first reason stays. To be called on the loop's thread."""
        if self.reason is None:
            self.reason = reason
            if self._event is not None:
                self._event.set()

    async def wait(self) -> str:
        """Returns the reason once there is one."""
        if self.reason is None:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
        assert self.reason is not None
        return self.reason


class StreamStalled(ResourceExhausted):
    """The reader of the stream did not read for too long."""

    message = "The stream was not read for too long; open it again."


class Call:
    """What a servicer method is given beside the request.

    ``unit`` is set only in plain ``def`` methods, which run in a worker thread inside one unit of
    work. ``async def`` methods run on the event loop and open units with :meth:`run`.
    """

    __slots__ = (
        "_closing",
        "_context",
        "_exchange",
        "address",
        "caller",
        "deadline",
        "method",
        "opened",
        "request_id",
        "rule",
        "stalled_error",
        "traceparent",
        "unit",
        "user_agent",
    )

    unit: "Unit"
    """The unit of work of this call; only in plain ``def`` methods."""

    def __init__(self, rule: "MethodRule", exchange: "Exchange") -> None:
        self.rule = rule
        self.method = rule.full_name
        """Full name of the method, such as ``greenroom.auth.v1.AuthService.GetMe``."""
        self.opened = time.monotonic()
        self.caller: Caller = ANONYMOUS
        self.request_id = ""
        self.address = ""
        self.user_agent = ""
        self.traceparent = ""
        self.deadline: float | None = None
        """When it must have ended, of ``time.monotonic()``; ``None`` for never."""
        self.stalled_error: type[GreenroomError] = StreamStalled
        self._exchange = exchange
        self._closing: Closing | None = None
        self._context: CallContext | None = None

    @property
    def clock(self) -> "Clock":
        """The server's clock."""
        return self._exchange.clock

    @property
    def closing(self) -> Closing:
        """What tells an open stream that it has to end."""
        if self._closing is None:
            self._closing = Closing()
        return self._closing

    @property
    def context(self) -> CallContext:
        """What units of work know of this call."""
        if self._context is None:
            self._context = CallContext(
                caller=self.caller,
                request_id=self.request_id,
                address=self.address,
                user_agent=self.user_agent,
                method=self.rule.full_name,
            )
        return self._context

    def remaining(self) -> float | None:
        """Seconds until the deadline, to be passed on to calls that leave the server."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def on_stalled(self, error: type[GreenroomError]) -> None:
        """Names the error that this stream is cut with when its reader stops reading."""
        self.stalled_error = error

    async def check_rate(self, rate_class: str) -> None:
        """Counts one command on a stream in a rate class, such as ``CHAT``; raises ``RateLimited``.

        A stream is one call, so what its commands do would otherwise escape the limits of their
        unary counterparts.
        """
        await self._exchange.admission.check_rate(rate_class, self.caller, self.address)

    async def run(
        self, work: "Callable[[Unit], T]", *, write: bool = True, serializable: bool = False
    ) -> T:
        """Runs ``work`` in a worker thread inside a unit of work of its own.

        For the few ``async def`` methods that must leave the transaction between two units.
        """
        return await self._exchange.database.run(
            work,
            write=write,
            serializable=serializable,
            deadline=self.deadline,
            context=self.context,
        )
