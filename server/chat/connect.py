"""One stream for everything: commands up, events and results down."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from server.chat.errors import AlreadySubscribed
from server.chat.lane import Lane
from server.chat.ports import MediaShelf, StreamCall
from server.chat.rules import Wish
from server.chat.sending import SendCommand, Sent
from server.chat.stream import EventStream
from server.chat.typing_sign import TypingSigns
from server.chat.usecases.drafts import Draft, complete
from server.chat.usecases.marks import mark_delivered, mark_read
from server.core.errors import GreenroomError

IN_FLIGHT = 32
"""Commands of one stream that are worked on or whose results wait to be written. Over it the stream is
not read, which holds the client back; results of the largest messages make 512 KiB."""


class MarkRead(NamedTuple):
    """Move the caller's read mark."""

    channel_id: str
    seq: int


class StartTyping(NamedTuple):
    """Say that the caller is typing."""

    channel_id: str


class Acknowledge(NamedTuple):
    """Confirm what was received and ask for a fresh resume token."""

    delivered: Mapping[str, int]
    """The last number of each channel that has come to the device."""


Command = Wish | SendCommand | Draft | MarkRead | StartTyping | Acknowledge
Numbered = AsyncIterator[tuple[int, Command | GreenroomError]]


@dataclass(frozen=True, slots=True)
class ResultEncoder:
    """Makes results of commands, as replies; the first value is the command's number."""

    message: Callable[[int, bytes], bytes]
    """With an encoded message."""
    done: Callable[[int], bytes]
    error: Callable[[int, GreenroomError], bytes]


class Conversation:
    """The commands of one stream.

    They are worked on side by side, but sends are queued in the order in which they came. A refused
    command is a result; anything unforeseen ends the stream.
    """

    def __init__(
        self,
        call: StreamCall,
        stream: EventStream,
        lane: Lane,
        typing_signs: TypingSigns,
        shelf: MediaShelf,
        encode: ResultEncoder,
    ) -> None:
        self._call = call
        self._stream = stream
        self._lane = lane
        self._typing_signs = typing_signs
        self._shelf = shelf
        self._encode = encode
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._in_flight = 0
        self._read_all = False
        self._tasks: set[asyncio.Task[None]] = set()
        stream.on_written(self._written)

    async def replies(self, commands: Numbered) -> AsyncIterator[bytes]:
        """Encoded replies to numbered commands; an error in the place of a command is its result."""
        self._start(self._read(commands))
        replies = self._stream.replies()
        try:
            async for reply in replies:
                yield reply
        finally:
            for task in tuple(self._tasks):
                task.cancel()
            await replies.aclose()  # type: ignore[attr-defined]

    async def _read(self, commands: Numbered) -> None:
        async for number, command in commands:
            await self._slots.acquire()
            self._in_flight += 1
            if isinstance(command, SendCommand | Draft):
                await self._send(number, command)
            elif isinstance(command, GreenroomError):
                self._stream.push(self._encode.error(number, command))
            else:
                self._start(self._perform(number, command))
        self._read_all = True
        self._finish()

    async def _send(self, number: int, command: SendCommand | Draft) -> None:
        shelf = self._shelf
        try:
            await self._call.check_rate("CHAT")
            if isinstance(command, Draft):
                command = await self._call.run(
                    partial(complete, shelf=shelf, draft=command), write=False
                )
            future = self._lane.send(command)
        except GreenroomError as error:
            self._stream.push(self._encode.error(number, error))
        else:
            future.add_done_callback(partial(self._sent, number))

    def _sent(self, number: int, future: "asyncio.Future[Sent]") -> None:
        error = future.exception()
        if error is None:
            self._stream.push(self._encode.message(number, future.result().encoded))
        elif isinstance(error, GreenroomError):
            self._stream.push(self._encode.error(number, error))
        else:
            self._stream.fail(error)

    async def _perform(self, number: int, command: Command) -> None:
        try:
            await self._done(command)
        except GreenroomError as error:
            self._stream.push(self._encode.error(number, error))
        else:
            self._stream.push(self._encode.done(number))

    async def _done(self, command: Command) -> None:
        user_id = self._call.caller.user_id
        match command:
            case Wish():
                if self._stream.subscribed:
                    raise AlreadySubscribed
                await self._stream.subscribe(command)
            case MarkRead(channel_id, seq):
                await self._call.check_rate("WRITE")
                await self._call.run(lambda unit: mark_read(unit, user_id, channel_id, seq))
            case StartTyping(channel_id):
                await self._call.check_rate("EPHEMERAL")
                await self._typing_signs.start(self._call, channel_id)
            case Acknowledge(delivered):
                if delivered:
                    await self._call.check_rate("WRITE")
                    await self._call.run(lambda unit: mark_delivered(unit, user_id, delivered))
                self._stream.beat()

    def _written(self) -> None:
        self._in_flight -= 1
        self._slots.release()
        self._finish()

    def _finish(self) -> None:
        """A stream that sends no more commands and watches nothing has come to its end."""
        if self._read_all and not self._in_flight and not self._stream.subscribed:
            self._stream.finish()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._stream.fail(error)
