"""Events and commands over one stream, opened again by itself when it breaks."""

import asyncio
import contextlib
import itertools
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
from grpc import aio

from greenroom.chat.v1 import channel_pb2, event_pb2, event_service_pb2
from greenroom_client.calls import Rhythm
from greenroom_client.errors import reason_of
from greenroom_client.events import SILENCE_SECONDS, Position

LONGEST_PAUSE_SECONDS = 5.0

_FATAL = {
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
}


class CommandFailed(Exception):
    """The server refused a command; ``reason`` is that of its unary counterpart."""

    def __init__(self, error: event_service_pb2.CommandError) -> None:
        super().__init__(error.message)
        self.code = error.code
        self.reason = error.reason
        self.field = error.field


class Conversation:
    """``async with client.converse() as talk: await talk.send(...); async for event in talk.events():``

    A command that was not answered when the stream broke is sent again on the next one. That is
    harmless: a message is known by its client id, and read marks only move forward.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        channel_ids: Iterable[str] = (),
        resume_token: str = "",
        rhythm: Rhythm | None = None,
        renew: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._connect = connect
        self._channel_ids = list(channel_ids)
        self._position = Position(resume_token)
        self._rhythm = rhythm or Rhythm()
        self._renew = renew
        self._numbers = itertools.count(1)
        self._unanswered: OrderedDict[int, event_service_pb2.ConnectRequest] = OrderedDict()
        self._results: dict[int, asyncio.Future[Any]] = {}
        self._outbox: asyncio.Queue[event_service_pb2.ConnectRequest] = asyncio.Queue()
        self._inbox: asyncio.Queue[event_pb2.ChatEvent | None] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self._call: Any = None
        self.live = asyncio.Event()
        """Set once the stream has caught up for the first time."""

    @property
    def resume_token(self) -> str:
        """Opens another stream at the last token."""
        return self._position.resume_token

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
        """Every event once, in order within its channel, until the conversation ends."""
        while (event := await self._inbox.get()) is not None:
            yield event
        assert self._running is not None
        await self._running

    def cut(self) -> None:
        """Breaks the present connection, as a network would."""
        if self._call is not None:
            self._call.cancel()

    async def _command(self, request: event_service_pb2.ConnectRequest) -> Any:
        if self._running is None or self._running.done():
            raise RuntimeError("the conversation is not open")
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
        failures = 0
        try:
            while True:
                pause, answered = await self._connection()
                failures = 0 if answered else failures + 1
                backoff = min(LONGEST_PAUSE_SECONDS, 0.1 * 2.0**failures)
                await self._rhythm.sleep(
                    pause if pause is not None else backoff * (0.5 + self._rhythm.random() / 2)
                )
        except Exception as error:
            for result in self._results.values():
                if not result.done():
                    result.set_exception(error)
            raise
        finally:
            self._inbox.put_nowait(None)

    async def _connection(self) -> tuple[float | None, bool]:
        """One stream to its end: the pause the server asked for, and whether it answered at all."""
        self._call = call = self._connect()
        answered = False
        writing = asyncio.create_task(self._write(call))
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    reply = await call.read()
                if reply is aio.EOF:
                    return None, answered
                answered = True
                self._take(reply)
                if reply.HasField("end"):
                    delay = reply.end.retry_delay
                    return delay.seconds + delay.nanos / 1e9, True
        except TimeoutError:
            return None, answered
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return None, answered
        except aio.AioRpcError as error:
            if reason_of(error) == "WIRE_ERROR_REASON_CREDENTIALS_INVALID" and self._renew:
                # A server that is away now may be back for the next connection.
                with contextlib.suppress(aio.AioRpcError):
                    await self._renew()
            elif error.code() in _FATAL:
                raise
            return None, answered
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            call.cancel()

    async def _write(self, call: Any) -> None:
        """Subscribes, repeats what was not answered, then sends what comes."""
        self._outbox = asyncio.Queue()
        for request in self._unanswered.values():
            self._outbox.put_nowait(request)
        with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(
                event_service_pb2.ConnectRequest(
                    subscribe=event_service_pb2.Subscribe(
                        resume_token=self._position.resume_token,
                        channel_ids=self._channel_ids,
                        cursors=self._position.cursors,
                    )
                )
            )
            while True:
                await call.write(await self._outbox.get())

    def _take(self, reply: event_service_pb2.ConnectResponse) -> None:
        for event in reply.events:
            if self._position.take(event):
                self._inbox.put_nowait(event)
        if reply.HasField("heartbeat"):
            self._position.renew(reply.heartbeat.resume_token)
            self.live.set()
        elif reply.HasField("end"):
            self._position.renew(reply.end.resume_token)
        elif reply.HasField("result"):
            self._answer(reply.result)

    def _answer(self, result: event_service_pb2.CommandResult) -> None:
        waiting = self._results.get(result.command_id)
        if waiting is None or waiting.done():
            return
        if result.HasField("error"):
            waiting.set_exception(CommandFailed(result.error))
        else:
            waiting.set_result(result.message if result.HasField("message") else None)
