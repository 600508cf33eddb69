"""Live events that survive cuts, deploys and renewed tokens without a loss or a double."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any

from grpc import aio

from greenroom.chat.v1 import channel_pb2, event_pb2, event_service_pb2
from greenroom_client.calls import Rhythm
from greenroom_client.errors import reason_of, retry_after_of
from greenroom_client.resuming import Position, Recovery
from greenroom_client.tokens import Keeper

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
        keeper: Keeper | None = None,
    ) -> None:
        self._watch = watch
        self._channel_ids = list(channel_ids)
        self._position = Position(resume_token, cursors)
        self._rhythm = rhythm or Rhythm()
        self._recovery = Recovery(self._position, self._rhythm, keeper)
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
        self._recovery.opening()
        self._call = call = self._watch(request)
        try:
            while True:
                async with asyncio.timeout(self._rhythm.silence):
                    reply = await call.read()
                if reply is aio.EOF:
                    self._pause = self._recovery.pause()
                    return
                self.replies += 1
                for event in reply.events:
                    if self._position.take(event):
                        yield event
                if self._ended(reply):
                    return
        except TimeoutError:
            self._pause = self._recovery.pause()
        except asyncio.CancelledError:
            # A cut call looks like a cancelled reader; only the reader's own task may end here.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._pause = self._recovery.pause()
        except aio.AioRpcError as error:
            self._pause = await self._recovery.after(
                error, error.code(), reason_of(error), retry_after_of(error)
            )
        finally:
            call.cancel()

    def _ended(self, reply: event_service_pb2.WatchEventsResponse) -> bool:
        self._recovery.answered()
        if reply.HasField("heartbeat"):
            self._position.renew(reply.heartbeat.resume_token)
            self.live.set()
        if reply.HasField("end"):
            self._position.renew(reply.end.resume_token)
            delay = reply.end.retry_delay
            self._pause = delay.seconds + delay.nanos / 1e9
            return True
        return False
