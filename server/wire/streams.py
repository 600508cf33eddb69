"""Open streams: their budget, their registry by session, and the watch over stalled readers."""

import asyncio
import time
from collections import defaultdict

from server.core.errors import ResourceExhausted, Unavailable
from server.wire.call import Call

WATCH_SECONDS = 1.0
"""How often stalled writes are looked for; a stalled reader is cut at most this much late."""


class TooManyStreams(ResourceExhausted):
    """The server is at its limit of open streams."""

    message = "The server has as many open streams as it takes; try again later."


class Draining(Unavailable):
    """The server shuts down and opens no new streams."""

    reason = "WIRE_ERROR_REASON_DRAINING"
    message = "The server is shutting down; another one will answer."


class OpenStream:
    """One open stream as the registry sees it."""

    __slots__ = ("call", "stalled", "task", "writing_since")

    def __init__(self, call: Call, task: "asyncio.Task[object]") -> None:
        self.call = call
        self.task = task
        self.writing_since = 0.0
        """When the present write began, in the loop's time; 0 between writes."""
        self.stalled = False


class StreamRegistry:
    """All open streams of this process. Used on the loop's thread only."""

    def __init__(self, *, limit: int, write_seconds: float, max_seconds: float) -> None:
        self._limit = limit
        self._write_seconds = write_seconds
        self._max_seconds = max_seconds
        self._open: set[OpenStream] = set()
        self._by_session: defaultdict[str, set[OpenStream]] = defaultdict(set)
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._watch: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def admit(self) -> None:
        """Raises when no further stream may be opened."""
        if self._draining:
            raise Draining(retry_after=1.0)
        if len(self._open) >= self._limit:
            raise TooManyStreams(retry_after=5.0)

    def add(self, call: Call, task: "asyncio.Task[object]") -> OpenStream:
        """Takes a stream that was admitted and whose caller is known."""
        stream = OpenStream(call, task)
        self._open.add(stream)
        if call.caller.session_id:
            self._by_session[call.caller.session_id].add(stream)
        self._empty.clear()
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)
        if self._draining:
            call.closing.close("DRAINING")
        return stream

    def remove(self, stream: OpenStream) -> None:
        """Forgets a stream that has ended."""
        self._open.discard(stream)
        session_id = stream.call.caller.session_id
        if session_id:
            streams = self._by_session.get(session_id)
            if streams is not None:
                streams.discard(stream)
                if not streams:
                    del self._by_session[session_id]
        if not self._open:
            self._empty.set()

    def close_session(self, session_id: str) -> None:
        """Asks every stream of a session to end."""
        for stream in tuple(self._by_session.get(session_id, ())):
            stream.call.closing.close("SESSION_ENDED")

    def close_signed_by(self, kids: frozenset[str]) -> None:
        """Asks every stream to end that was opened with a token of one of these keys."""
        for stream in tuple(self._open):
            if stream.call.caller.signed_by in kids:
                stream.call.closing.close("SESSION_ENDED")

    async def drain(self, seconds: float) -> bool:
        """Opens no new streams, asks all to end, waits; False when some are still open then."""
        self._draining = True
        for stream in tuple(self._open):
            stream.call.closing.close("DRAINING")
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for stream in tuple(self._open):
            if stream.writing_since and now - stream.writing_since > self._write_seconds:
                stream.stalled = True
                stream.task.cancel()
            elif time.monotonic() - stream.call.opened > self._max_seconds:
                stream.call.closing.close("MAX_DURATION")
        self._watch = loop.call_later(WATCH_SECONDS, self._look) if self._open else None
