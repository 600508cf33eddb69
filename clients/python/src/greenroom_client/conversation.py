"""Events and commands over one stream, opened again by itself when it breaks."""

import asyncio
import contextlib
import itertools
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from grpc import aio

from greenroom.chat.v1 import channel_pb2, event_pb2, event_service_pb2
from greenroom_client.calls import Rhythm
from greenroom_client.errors import reason_of, retry_after_of
from greenroom_client.resuming import Position, Recovery
from greenroom_client.tokens import Keeper

MOST_WAITING = 10_000
"""Events that may wait for their reader. Over it the stream is not read, as if the network were slow."""

_SUBSCRIBE = 0
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


class CommandFailed(Exception):
    """The server refused a command; ``reason`` is that of its unary counterpart."""

    def __init__(self, error: event_service_pb2.CommandError) -> None:
        super().__init__(error.message)
        self.code = error.code
        self.reason = error.reason
        self.field = error.field


class ConversationClosed(Exception):
    """The conversation was left before the command was answered; it may have been done or not."""


class Conversation:
    """``async with client.converse() as talk: await talk.send(...); async for event in talk.events():``

    A command that was not answered when the stream broke is sent again on the next one. That is
    harmless: a message is known by its client id, and read marks only move forward. A command waits
    for its answer as long as it takes; put ``asyncio.timeout`` around it to wait for less.

    Read the events: results come over the same stream, which stops while 10,000 events wait.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        channel_ids: Iterable[str] = (),
        resume_token: str = "",
        cursors: Iterable[channel_pb2.ChannelCursor] = (),
        rhythm: Rhythm | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._connect = connect
        self._channel_ids = list(channel_ids)
        self._position = Position(resume_token, cursors)
        self._rhythm = rhythm or Rhythm()
        self._recovery = Recovery(self._position, self._rhythm, keeper)
        self._numbers = itertools.count(_SUBSCRIBE + 1)
        self._unanswered: OrderedDict[int, event_service_pb2.ConnectRequest] = OrderedDict()
        self._results: dict[int, asyncio.Future[Any]] = {}
        self._outbox: asyncio.Queue[event_service_pb2.ConnectRequest] = asyncio.Queue()
        self._inbox: asyncio.Queue[event_pb2.ChatEvent | None] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._error: Exception | None = None
        self._call: Any = None
        self.live = asyncio.Event()
        """Set once the stream has caught up for the first time."""

    @property
    def resume_token(self) -> str:
        """Opens another stream at the last token; keep ``cursors`` beside it."""
        return self._position.resume_token

    @property
    def cursors(self) -> list[channel_pb2.ChannelCursor]:
        """Positions that are newer than the token."""
        return self._position.cursors

    async def __aenter__(self) -> "Conversation":
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def send(
        self, channel_id: str, text: str, client_id: str | None = None
    ) -> channel_pb2.Message:
        """Sends a message; returns it as stored. Exactly one comes of it, whatever breaks."""
        command = event_service_pb2.SendMessageCommand(
            channel_id=channel_id, client_id=client_id or str(uuid.uuid4()), text=text
        )
        message: channel_pb2.Message = await self._command(
            event_service_pb2.ConnectRequest(send=command)
        )
        return message

    async def mark_read(self, channel_id: str, seq: int) -> None:
        """Moves the caller's read mark forward."""
        command = event_service_pb2.MarkReadCommand(channel_id=channel_id, seq=seq)
        await self._command(event_service_pb2.ConnectRequest(read=command))

    async def typing(self, channel_id: str) -> None:
        """Tells the other members that the caller is typing."""
        command = event_service_pb2.TypingCommand(channel_id=channel_id)
        await self._command(event_service_pb2.ConnectRequest(typing=command))

    async def events(self) -> AsyncIterator[event_pb2.ChatEvent]:
        """Every event once, in order within its channel, until the conversation ends. Raises what
        ended it, unless that was the end of its ``async with``."""
        while (event := await self._inbox.get()) is not None:
            if self._inbox.qsize() < MOST_WAITING:
                self._has_room.set()
            yield event
        self._inbox.put_nowait(None)  # For another reader, and for one who asks again.
        if self._error is not None:
            raise self._error

    def cut(self) -> None:
        """Breaks the present connection, as a network would."""
        if self._call is not None:
            self._call.cancel()

    async def _command(self, request: event_service_pb2.ConnectRequest) -> Any:
        if self._running is None or self._running.done():
            raise self._ending("the conversation is not open")
        request.command_id = next(self._numbers)
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[request.command_id] = result
        self._unanswered[request.command_id] = request
        self._outbox.put_nowait(request)
        try:
            return await result
        finally:
            self._results.pop(request.command_id, None)
            self._unanswered.pop(request.command_id, None)

    async def _run(self) -> None:
        try:
            while True:
                await self._rhythm.sleep(await self._connection())
        except Exception as error:
            # Whoever waits for a result or an event gets it.
            self._error = error
        finally:
            for result in self._results.values():
                if not result.done():
                    result.set_exception(self._ending("left unanswered"))
            self._inbox.put_nowait(None)

    def _ending(self, text: str) -> Exception:
        return ConversationClosed(text) if self._error is None else self._error

    async def _connection(self) -> float:
        """One stream to its end; seconds until the next one."""
        self._recovery.opening()
        self._call = call = self._connect()
        writing = asyncio.create_task(self._write(call))
        try:
            while True:
                async with asyncio.timeout(self._rhythm.silence):
                    reply = await call.read()
                if reply is aio.EOF:
                    return self._recovery.pause()
                self._take(reply)
                if reply.HasField("end"):
                    delay = reply.end.retry_delay
                    return float(delay.seconds + delay.nanos / 1e9)
                await self._room()
        except TimeoutError:
            return self._recovery.pause()
        except asyncio.CancelledError:
            # A cut call looks like a cancelled task.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._recovery.pause()
        except CommandFailed as error:
            code = _STATUS.get(error.code, grpc.StatusCode.UNKNOWN)
            return await self._recovery.after(error, code, error.reason, None)
        except aio.AioRpcError as error:
            return await self._recovery.after(
                error, error.code(), reason_of(error), retry_after_of(error)
            )
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            call.cancel()

    async def _room(self) -> None:
        """Waits until the reader of the events has come after."""
        if self._inbox.qsize() >= MOST_WAITING:
            self._has_room.clear()
            await self._has_room.wait()

    async def _write(self, call: Any) -> None:
        """Subscribes, repeats what was not answered, then sends what comes."""
        self._outbox = asyncio.Queue()
        for request in self._unanswered.values():
            self._outbox.put_nowait(request)
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(
                event_service_pb2.ConnectRequest(
                    command_id=_SUBSCRIBE,
                    subscribe=event_service_pb2.Subscribe(
                        resume_token=self._position.resume_token,
                        channel_ids=self._channel_ids,
                        cursors=self._position.cursors,
                    ),
                )
            )
            while True:
                await call.write(await self._outbox.get())

    def _take(self, reply: event_service_pb2.ConnectResponse) -> None:
        for event in reply.events:
            if self._position.take(event):
                self._inbox.put_nowait(event)
        if reply.HasField("result"):
            self._answer(reply.result)
        self._recovery.answered()
        if reply.HasField("heartbeat"):
            self._position.renew(reply.heartbeat.resume_token)
            self.live.set()
        elif reply.HasField("end"):
            self._position.renew(reply.end.resume_token)

    def _answer(self, result: event_service_pb2.CommandResult) -> None:
        if result.command_id == _SUBSCRIBE:
            if result.HasField("error"):
                # The stream would stay open and never bring an event.
                raise CommandFailed(result.error)
            return
        waiting = self._results.get(result.command_id)
        if waiting is None or waiting.done():
            return
        if result.HasField("error"):
            waiting.set_exception(CommandFailed(result.error))
        else:
            waiting.set_result(result.message if result.HasField("message") else None)
