"""Connect: one stream for everything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from grpc import StatusCode

from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, Watch
from tests.support.serve import Person
from tests.support.statuses import failure_of, field_names, reason_of

NOT_FOUND = (StatusCode.NOT_FOUND.value[0], "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


class Line(Watch):
    """A Connect stream: commands up as well."""

    def __init__(self, call: Any, room: Room) -> None:
        super().__init__(call)
        self._room = room
        self._number = 0

    async def command(self, **command: Any) -> int:
        """Sends a command and returns its number, without waiting."""
        self._number += 1
        await self.call.write(events.ConnectRequest(command_id=self._number, **command))
        return self._number

    async def result(self, **command: Any) -> events.CommandResult:
        """Sends a command and waits for what comes of it."""
        number = await self.command(**command)
        await self.until(lambda line: any(r.command_id == number for r in line.results))
        return next(result for result in self.results if result.command_id == number)

    async def subscribe(self, **wish: Any) -> None:
        """Starts the events and waits until they are caught up."""
        result = await self.result(subscribe=events.Subscribe(**wish))
        assert result.HasField("done"), result
        await self.until(lambda line: line.heartbeats)

    def message(self, text: str = "hello", client_id: str = "") -> events.SendMessageCommand:
        """The command that sends a text."""
        return events.SendMessageCommand(
            channel_id=self._room.channel.id, client_id=client_id or new_id(), text=text
        )


@asynccontextmanager
async def line_of(room: Room, by: Person | None = None) -> AsyncIterator[Line]:
    """A stream, Ann's unless said otherwise."""
    call = room.server.events.Connect(metadata=(by or room.ann).metadata)
    line = Line(call, room)
    try:
        yield line
    finally:
        line.close()


def error_of(result: events.CommandResult) -> tuple[int, str]:
    """Code and reason of a command that was not done."""
    assert result.WhichOneof("outcome") == "error", result
    return result.error.code, result.error.reason


async def test_two_people_talk(room: Room) -> None:
    async with line_of(room) as ann, line_of(room, room.bob) as bob:
        await ann.subscribe()
        await bob.subscribe()
        sent = await ann.result(send=ann.message("hi"))
        assert (sent.message.seq, sent.message.text) == (1, "hi")
        await bob.until(lambda line: line.seqs)
        # Beside it he is told that Ann is there, sooner or later.
        assert bob.of_kind("message")[0].message == sent.message
        typing = events.TypingCommand(channel_id=room.channel.id)
        assert (await bob.result(typing=typing)).HasField("done")
        await ann.until(lambda line: line.of_kind("typing"))
        read = events.MarkReadCommand(channel_id=room.channel.id, seq=1)
        assert (await bob.result(read=read)).HasField("done")
        await ann.until(lambda line: line.of_kind("read"))
        assert ann.of_kind("read")[0].read.user_id == room.bob.id
        assert not bob.of_kind("typing")


async def test_sends_of_one_stream_keep_their_order(room: Room) -> None:
    async with line_of(room) as ann:
        numbers = [await ann.command(send=ann.message(str(number))) for number in range(200)]
        await ann.until(lambda line: len(line.results) == 200)
    by_seq = sorted(ann.results, key=lambda result: result.message.seq)
    assert [result.message.text for result in by_seq] == [str(number) for number in range(200)]
    assert [result.command_id for result in by_seq] == numbers


async def test_a_refused_command_says_why_and_ends_nothing(room: Room) -> None:
    eve = await room.server.person("Eve")
    await room.send(client_id="mine")
    async with line_of(room, eve) as line:
        read = events.MarkReadCommand(channel_id=room.channel.id, seq=1)
        typing = events.TypingCommand(channel_id=room.channel.id)
        wish = events.Subscribe(channel_ids=[room.channel.id])
        for command in (
            {"send": line.message()},
            {"read": read},
            {"typing": typing},
            {"subscribe": wish},
        ):
            assert error_of(await line.result(**command)) == NOT_FOUND
    async with line_of(room) as ann:
        result = await ann.result(send=ann.message("other", client_id="mine"))
        assert error_of(result) == (
            StatusCode.INVALID_ARGUMENT.value[0],
            "CHAT_ERROR_REASON_CLIENT_ID_REUSED",
        )
        assert result.error.field == "client_id"
        result = await ann.result(send=ann.message("a\0b"))
        assert result.error.field == "text"
        result = await ann.result(read=events.MarkReadCommand(channel_id=room.channel.id, seq=9))
        assert error_of(result)[1] == "CHAT_ERROR_REASON_SEQ_AHEAD"
        assert (await ann.result(send=ann.message())).message.seq == 2


async def test_one_subscription_a_stream_but_a_refused_one_may_be_tried_again(room: Room) -> None:
    await room.send()
    async with line_of(room) as ann:
        ahead = await ann.result(subscribe=events.Subscribe(cursors=[room.at(9)]))
        assert error_of(ahead)[1] == "CHAT_ERROR_REASON_CURSOR_AHEAD"
        token = await ann.result(subscribe=events.Subscribe(resume_token="x"))
        assert error_of(token)[1] == "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID"
        await ann.subscribe(cursors=[room.at(0)])
        assert ann.seqs == [1]
        again = await ann.result(subscribe=events.Subscribe())
        assert error_of(again) == (
            StatusCode.FAILED_PRECONDITION.value[0],
            "CHAT_ERROR_REASON_ALREADY_SUBSCRIBED",
        )


async def test_an_ack_gets_a_fresh_token(room: Room) -> None:
    async with line_of(room) as ann:
        await ann.subscribe()
        await ann.result(send=ann.message())
        await ann.messages(1)
        beats = ann.heartbeats
        assert (await ann.result(ack=events.AckCommand())).HasField("done")
        await ann.until(lambda line: line.heartbeats > beats)
    await room.send()
    async with room.watch(by=room.ann, resume_token=ann.token) as watch:
        await watch.caught_up()
    assert watch.seqs == [2]


async def test_results_come_without_a_subscription_and_the_stream_ends_with_the_commands(
    room: Room,
) -> None:
    async with line_of(room) as ann:
        numbers = [await ann.command(send=ann.message(str(number))) for number in range(50)]
        await ann.call.done_writing()
        await ann.until(lambda line: line.ended)
        assert sorted(result.command_id for result in ann.results) == numbers
        assert await ann.call.code() is StatusCode.OK


async def test_a_subscribed_stream_goes_on_after_its_last_command(room: Room) -> None:
    async with line_of(room) as ann:
        await ann.subscribe()
        await ann.call.done_writing()
        await room.send(by=room.bob)
        assert await ann.messages(1) == [1]


async def test_an_invalid_command_ends_the_stream_with_its_field(room: Room) -> None:
    for command, field in (
        (
            {"send": events.SendMessageCommand(channel_id="x", client_id="c", text="t")},
            "send.channel_id",
        ),
        ({}, "command"),
    ):
        async with line_of(room) as ann:
            await ann.command(**command)
            error = await failure_of(ann.until(lambda line: line.ended))
        assert error.code() is StatusCode.INVALID_ARGUMENT
        assert reason_of(error) == "WIRE_ERROR_REASON_INVALID_FIELD"
        assert field_names(error) == [field]


async def test_commands_are_limited_like_their_unary_counterparts(
    make_room: Callable[..., Any],
) -> None:
    room: Room = await make_room(limited=True)
    async with line_of(room) as ann:
        for number in range(31):
            await ann.command(send=ann.message(str(number)))
        await ann.until(lambda line: len(line.results) == 31)
    errors = [error_of(r) for r in ann.results if r.WhichOneof("outcome") == "error"]
    assert errors == [(StatusCode.RESOURCE_EXHAUSTED.value[0], "WIRE_ERROR_REASON_RATE_LIMITED")]


async def test_a_drain_ends_it_like_every_stream(room: Room) -> None:
    async with line_of(room) as ann, line_of(room) as silent:
        await ann.subscribe()
        await silent.result(ack=events.AckCommand())
        draining = asyncio.create_task(room.server.running.stop(5))
        for line in (ann, silent):
            await line.until(lambda line: line.ended)
            assert line.end is not None
            assert line.end.reason == event_pb2.END_REASON_DRAINING
        await draining
