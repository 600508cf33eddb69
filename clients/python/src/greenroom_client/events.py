"""Live events that survive cuts, deploys and renewed tokens without a loss or a double."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
from grpc import aio

from greenroom.chat.v1 import channel_pb2, event_pb2, event_service_pb2
from greenroom_client.calls import Rhythm
from greenroom_client.errors import reason_of, retry_after_of

SILENCE_SECONDS = 65.0
"""A stream that says nothing for this long, three heartbeats, is taken for dead and opened again."""
LONGEST_PAUSE_SECONDS = 5.0
MOST_CURSORS = 200

_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Position:
    """Where a subscriber stands in all its channels: the last token, and what came after it."""

    def __init__(
        self, resume_token: str = "", cursors: Iterable[channel_pb2.ChannelCursor] = ()
    ) -> None:
        self.resume_token = resume_token
        self._seen = {cursor.channel_id: (cursor.epoch, cursor.seq) for cursor in cursors}
        self._since_token = dict(self._seen)

    @property
    def cursors(self) -> list[channel_pb2.ChannelCursor]:
        """Positions that are newer than the token. Those over the limit are left to the token; what
        it repeats is dropped by :meth:`take`."""
        return [
            channel_pb2.ChannelCursor(channel_id=channel_id, epoch=epoch, seq=seq)
            for channel_id, (epoch, seq) in list(self._since_token.items())[-MOST_CURSORS:]
        ]

    def take(self, event: event_pb2.ChatEvent) -> bool:
        """Moves on to the event; False when it was seen before."""
        if event.HasField("gap"):
            self._move(event.channel_id, event.epoch, event.gap.first_seq - 1)
            return True
        if event.seq == 0:
            return True
        epoch, seq = self._seen.get(event.channel_id, (event.epoch, 0))
        if epoch in (0, event.epoch) and event.seq <= seq:
            return False
        self._move(event.channel_id, event.epoch, event.seq)
        return True

    def renew(self, resume_token: str) -> None:
        """Takes a token that stands for everything up to now."""
        if resume_token:
            self.resume_token = resume_token
            self._since_token.clear()

    def distrust_token(self) -> None:
        """Goes on with the positions alone: the token was refused."""
        self.resume_token = ""
        self._since_token = dict(self._seen)

    def _move(self, channel_id: str, epoch: int, seq: int) -> None:
        self._seen[channel_id] = self._since_token[channel_id] = (epoch, seq)


Open = Callable[[event_service_pb2.WatchEventsRequest], Any]


class EventStream:
    """Iterate over it: ``async for event in client.watch()``.

    Yields every event once and in order within its channel, for as long as it is iterated. A ``gap``
    event says that history is gone: load the channel again. Raises only what trying again cannot
    cure, such as :class:`SignedOut` or a channel that is not the caller's.
    """

    def __init__(
        self,
        watch: Open,
        *,
        channel_ids: Iterable[str] = (),
        resume_token: str = "",
        cursors: Iterable[channel_pb2.ChannelCursor] = (),
        rhythm: Rhythm | None = None,
        renew: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._watch = watch
        self._channel_ids = list(channel_ids)
        self._position = Position(resume_token, cursors)
        self._rhythm = rhythm or Rhythm()
        self._renew = renew
        self._failures = 0
        self._call: Any = None
        self._pause = 0.0
        self.live = asyncio.Event()
        """Set once the stream has caught up for the first time: from here on nothing is missed."""
        self.connections = 0
        """How often the stream was opened."""
        self.replies = 0
        """How many replies have come over all its connections, heartbeats included."""

    @property
    def resume_token(self) -> str:
        """Opens another stream at the last token; keep ``cursors`` beside it."""
        return self._position.resume_token

    @property
    def cursors(self) -> list[channel_pb2.ChannelCursor]:
        """Positions that are newer than the token."""
        return self._position.cursors

    def cut(self) -> None:
        """Breaks the present connection, as a network would; the iteration goes on over a new one."""
        if self._call is not None:
            self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[event_pb2.ChatEvent]:
        while True:
            self._pause = 0.0
            async with contextlib.aclosing(self._connection()) as events:
                async for event in events:
                    yield event
            await self._rhythm.sleep(self._pause)

    async def _connection(self) -> AsyncGenerator[event_pb2.ChatEvent, None]:
        request = event_service_pb2.WatchEventsRequest(
            resume_token=self._position.resume_token,
            channel_ids=self._channel_ids,
            cursors=self._position.cursors,
        )
        self.connections += 1
        self._call = call = self._watch(request)
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    reply = await call.read()
                if reply is aio.EOF:
                    self._pause = max(self._pause, self._backoff())
                    return
                self.replies += 1
                for event in reply.events:
                    if self._position.take(event):
                        yield event
                if self._ended(reply):
                    return
        except TimeoutError:
            self._pause = self._backoff()
        except asyncio.CancelledError:
            # A cut call looks like a cancelled reader; only the reader's own task may end here.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._pause = self._backoff()
        except aio.AioRpcError as error:
            await self._survive(error)
        finally:
            call.cancel()

    def _ended(self, reply: event_service_pb2.WatchEventsResponse) -> bool:
        self._failures = 0
        if reply.HasField("heartbeat"):
            self._position.renew(reply.heartbeat.resume_token)
            self.live.set()
        if reply.HasField("end"):
            self._position.renew(reply.end.resume_token)
            delay = reply.end.retry_delay
            self._pause = delay.seconds + delay.nanos / 1e9
            return True
        return False

    async def _survive(self, error: aio.AioRpcError) -> None:
        reason = reason_of(error)
        if reason == "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID" and self._position.resume_token:
            self._position.distrust_token()
        elif reason == "WIRE_ERROR_REASON_CREDENTIALS_INVALID" and self._renew is not None:
            self._failures += 1
            if self._failures > 3:
                raise error
            await self._renewed(self._renew)
        elif error.code() in _AGAIN:
            self._pause = max(self._backoff(), retry_after_of(error) or 0.0)
        else:
            raise error

    async def _renewed(self, renew: Callable[[], Awaitable[object]]) -> None:
        """Renews the tokens; a server that is away now may be back for the next connection."""
        try:
            await renew()
        except aio.AioRpcError as error:
            if error.code() not in _AGAIN:
                raise
            self._pause = self._backoff()

    def _backoff(self) -> float:
        self._failures += 1
        longest = min(LONGEST_PAUSE_SECONDS, 0.1 * 2.0 ** (self._failures - 1))
        return longest * (0.5 + self._rhythm.random() / 2)
