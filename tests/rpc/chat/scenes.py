"""What the tests of chat do over and over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from grpc import aio

from greenroom.chat.v1 import channel_pb2, event_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from greenroom.chat.v1 import event_service_pb2 as events
from greenroom.chat.v1 import message_service_pb2 as messages
from server.chat.wiring import ChatModule
from server.core.ids import new_id
from server.core.unit import Unit
from tests.support.serve import Greenroom, Person

T = TypeVar("T")
SECONDS = 15.0
"""How long anything that is awaited may take on a busy machine."""


@dataclass
class Room:
    """Two people and their direct channel."""

    server: Greenroom
    ann: Person
    bob: Person
    channel: channel_pb2.Channel

    async def send(
        self, text: str = "hello", *, by: Person | None = None, client_id: str = ""
    ) -> channel_pb2.Message:
        """Sends a message, Ann's unless said otherwise."""
        reply = await self.server.messages.SendMessage(
            messages.SendMessageRequest(
                channel_id=self.channel.id, client_id=client_id or new_id(), text=text
            ),
            metadata=(by or self.ann).metadata,
        )
        return reply.message

    async def send_many(self, count: int) -> list[channel_pb2.Message]:
        """Sends messages one after the other, numbered by their texts."""
        return [await self.send(str(number)) for number in range(1, count + 1)]

    async def fill(self, count: int) -> None:
        """Stores so many messages, fast, in no particular order."""
        for begin in range(0, count, 100):
            await asyncio.gather(
                *(self.send(str(n)) for n in range(begin, min(begin + 100, count)))
            )

    async def list(self, *, by: Person | None = None, **query: Any) -> Any:
        """A page of the history."""
        return await self.server.messages.ListMessages(
            messages.ListMessagesRequest(channel_id=self.channel.id, **query),
            metadata=(by or self.ann).metadata,
        )

    async def mark_read(self, seq: int, by: Person) -> int:
        """Moves somebody's read mark; where it is then."""
        reply = await self.server.channels.MarkRead(
            channels.MarkReadRequest(channel_id=self.channel.id, seq=seq), metadata=by.metadata
        )
        return reply.last_read_seq

    async def type(self, by: Person) -> None:
        """Shows that somebody is typing."""
        await self.server.channels.SendTyping(
            channels.SendTypingRequest(channel_id=self.channel.id), metadata=by.metadata
        )

    @asynccontextmanager
    async def watch(self, by: Person | None = None, **wish: Any) -> AsyncIterator["Watch"]:
        """A stream, Bob's unless said otherwise, until the block is left."""
        call = self.server.events.WatchEvents(
            events.WatchEventsRequest(**wish), metadata=(by or self.bob).metadata
        )
        watch = Watch(call)
        try:
            yield watch
        finally:
            watch.close()

    def at(self, seq: int, epoch: int = 0, change: int | None = None) -> channel_pb2.ChannelCursor:
        """A position in the channel."""
        return channel_pb2.ChannelCursor(
            channel_id=self.channel.id, epoch=epoch, seq=seq, change=change
        )


class Watch:
    """A stream as a client keeps it: what came, and the token to go on from."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.events: list[event_pb2.ChatEvent] = []
        self.results: list[events.CommandResult] = []
        self.token = ""
        self.heartbeats = 0
        self.end: event_pb2.End | None = None
        self.ended = False

    async def until(self, condition: Callable[["Watch"], object]) -> "Watch":
        """Reads until something is so."""
        async with asyncio.timeout(SECONDS):
            while not condition(self):
                await self._read()
        return self

    async def caught_up(self) -> "Watch":
        """Reads until the first heartbeat."""
        return await self.until(lambda watch: watch.heartbeats)

    async def messages(self, count: int) -> list[int]:
        """The numbers of the messages, once there are so many."""
        await self.until(lambda watch: len(watch.seqs) >= count)
        return self.seqs

    @property
    def seqs(self) -> list[int]:
        """The numbers of the messages so far."""
        return [event.seq for event in self.events if event.HasField("message")]

    def of_kind(self, kind: str) -> list[event_pb2.ChatEvent]:
        """The events of a kind so far."""
        return [event for event in self.events if event.WhichOneof("payload") == kind]

    def close(self) -> None:
        """The client goes."""
        self.call.cancel()

    async def _read(self) -> None:
        reply = await self.call.read()
        if reply is aio.EOF:
            self.ended = True
            return
        self.events += reply.events
        control = reply.WhichOneof("control")
        assert not (reply.events and control), "events or a control, never both"
        if control == "heartbeat":
            self.heartbeats += 1
            self.token = reply.heartbeat.resume_token
        elif control == "end":
            self.end = reply.end
            self.token = reply.end.resume_token
        elif control == "result":
            self.results.append(reply.result)


async def direct(server: Greenroom, by: Person, other: str) -> channel_pb2.Channel:
    """The direct channel of two people."""
    reply = await server.channels.GetDirectChannel(
        channels.GetDirectChannelRequest(user_id=other), metadata=by.metadata
    )
    return reply.channel


def outcome_of(error: aio.AioRpcError) -> tuple[object, ...]:
    """All that a caller sees of an error, but for the request's own id."""
    from google.rpc import error_details_pb2, status_pb2

    [raw] = [value for key, value in error.trailing_metadata() or () if key.endswith("details-bin")]
    status = status_pb2.Status.FromString(raw)
    kept = [
        detail.SerializeToString(deterministic=True)
        for detail in status.details
        if not detail.Is(error_details_pb2.RequestInfo.DESCRIPTOR)
    ]
    keys = sorted(key for key, _ in error.trailing_metadata() or ())
    return error.code(), error.details(), status.message, kept, keys


def chat_of(server: Greenroom) -> ChatModule:
    """The chat module of the running server."""
    return next(module for module in server.running._modules if isinstance(module, ChatModule))


async def in_unit(server: Greenroom, work: Callable[[Unit], T]) -> T:
    """Runs work on the server's database, past all services and without telling anybody."""
    return await server.running.parts.database.run(work, write=True)
