"""WatchEvents: what was missed, then what happens, from any position, without a loss or a double."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from server.chat import stream as event_stream
from server.chat.models import Channel, Message
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, direct, in_unit, outcome_of
from tests.support.statuses import field_names, refused

NOT_FOUND = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")
AHEAD = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_CURSOR_AHEAD")
BAD_TOKEN = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID")


async def refusal(room: Room, *code: Any, **wish: Any) -> Any:
    """The error that a stream ends with before anything comes."""
    async with room.watch(**wish) as watch:
        return await refused(watch.caught_up(), *code)


async def test_messages_arrive_as_they_were_sent(room: Room) -> None:
    async with room.watch() as watch:
        await watch.caught_up()
        sent = [await room.send(f"text {number}") for number in range(3)]
        await watch.messages(3)
    assert [event.message for event in watch.events] == sent
    assert {(event.channel_id, event.epoch) for event in watch.events} == {(room.channel.id, 1)}
    assert watch.seqs == [1, 2, 3]


async def test_without_a_position_a_stream_starts_live(room: Room) -> None:
    await room.send_many(2)
    async with room.watch() as watch:
        await watch.caught_up()
        await room.send()
        assert await watch.messages(1) == [3]


async def test_from_a_cursor_the_history_comes_first(room: Room) -> None:
    await room.fill(600)
    async with room.watch(cursors=[room.at(100)]) as watch:
        await watch.caught_up()
        assert watch.seqs == list(range(101, 601))
        await room.send()
        assert (await watch.messages(501))[-1] == 601
    async with room.watch(channel_ids=[room.channel.id], cursors=[room.at(0)]) as watch:
        assert await watch.messages(601) == list(range(1, 602))


async def test_the_cursor_of_a_page_goes_on_where_the_page_ends(room: Room) -> None:
    await room.send_many(3)
    page = await room.list(by=room.bob)
    await room.send()
    async with room.watch(cursors=[page.cursor]) as watch:
        await watch.caught_up()
    assert watch.seqs == [4]


async def test_a_token_goes_on_after_all_that_came(room: Room) -> None:
    async with room.watch() as watch:
        await watch.caught_up()
    await room.send_many(3)
    async with room.watch(resume_token=watch.token) as watch:
        await watch.caught_up()
        assert watch.seqs == [1, 2, 3]
    async with room.watch(resume_token=watch.token) as watch:
        await watch.caught_up()
        assert watch.seqs == []
        await room.send()
        assert await watch.messages(1) == [4]


async def test_a_cursor_wins_over_the_token(room: Room) -> None:
    await room.send_many(5)
    async with room.watch() as watch:
        await watch.caught_up()
    async with room.watch(resume_token=watch.token, cursors=[room.at(3)]) as watch:
        await watch.caught_up()
    assert watch.seqs == [4, 5]


async def test_history_that_is_gone_is_a_gap(room: Room) -> None:
    await room.send_many(6)

    def prune(_unit: object) -> None:
        Channel.update(history_start_seq=4).execute()
        Message.delete().where(Message.seq <= 4).execute()

    await in_unit(room.server, prune)
    async with room.watch(cursors=[room.at(2)]) as watch:
        await watch.caught_up()
        assert watch.events[0].gap.first_seq == 5
        assert (watch.events[0].seq, watch.events[0].epoch) == (0, 1)
        assert watch.seqs == [5, 6]
    async with room.watch(resume_token=watch.token, cursors=[room.at(4)]) as watch:
        await watch.caught_up()
        assert [event.seq for event in watch.events] == [5, 6]


async def test_positions_of_another_numbering_are_a_gap(room: Room) -> None:
    await room.send_many(6)
    async with room.watch() as watch:
        await watch.caught_up()
    await in_unit(room.server, lambda _unit: Channel.update(epoch=2).execute())
    await room.send()
    for wish in ({"cursors": [room.at(50, epoch=1)]}, {"resume_token": watch.token}):
        async with room.watch(**wish) as again:
            await again.caught_up()
            head = again.events[0].gap.first_seq
            await room.send()
            assert await again.messages(1) == [head]


async def test_a_new_numbering_reaches_an_open_stream(room: Room) -> None:
    async with room.watch() as watch:
        await watch.caught_up()
        await in_unit(room.server, lambda _unit: Channel.update(epoch=2, last_seq=10).execute())
        await watch.until(lambda watch: watch.of_kind("gap"))
        await room.send()
        assert await watch.messages(1) == [11]
    assert watch.events[0].gap.first_seq == 11
    assert {event.epoch for event in watch.events} == {2}


async def test_a_cursor_from_the_future_is_refused(room: Room) -> None:
    await room.send()
    for wish in ({"cursors": [room.at(2)]}, {"cursors": [room.at(2, epoch=1)]}):
        error = await refusal(room, *AHEAD, **wish)
        assert field_names(error) == ["cursors"]


async def test_foreign_channels_look_like_absent_ones(room: Room) -> None:
    await room.send()
    eve = await room.server.person("Eve")
    outcomes = []
    for channel_id in (room.channel.id, new_id()):
        cursor = room.at(1)
        cursor.channel_id = channel_id
        for wish in ({}, {"cursors": [cursor]}):
            wish["channel_ids"] = [channel_id]
            outcomes.append(outcome_of(await refusal(room, *NOT_FOUND, by=eve, **wish)))
        async with room.watch(eve, cursors=[cursor]) as watch:
            await watch.caught_up()
            [event] = watch.events
            assert (event.channel_id, event.WhichOneof("payload")) == (channel_id, "ended")
    assert outcomes == [outcomes[0]] * 4


async def test_who_is_in_more_channels_than_a_stream_carries_gets_the_newest(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STREAM_CHANNELS", 2)
    await room.send("old")
    rooms = [room]
    async with room.watch() as open_before:
        await open_before.caught_up()
        for name in ("Cid", "Dan"):
            room.server.clock.advance(1)
            person = await room.server.person(name)
            rooms.append(
                Room(
                    room.server,
                    person,
                    room.bob,
                    await direct(room.server, person, room.bob.id),
                )
            )
        async with room.watch() as watch:
            await watch.caught_up()
            for other in rooms:
                await other.send("new")
            await watch.messages(2)
            assert {event.message.sender_id for event in watch.events if event.seq} == {
                other.ann.id for other in rooms[1:]
            }
        async with room.watch(cursors=[room.at(1)]) as again:
            await again.caught_up()
            assert not [event for event in again.events if event.HasField("ended")]
        await open_before.messages(1)


async def test_a_token_is_its_users_alone(room: Room) -> None:
    async with room.watch() as watch:
        await watch.caught_up()
    for by, token in ((room.ann, watch.token), (room.bob, watch.token[:-2]), (room.bob, "x")):
        error = await refusal(room, *BAD_TOKEN, by=by, resume_token=token)
        assert field_names(error) == ["resume_token"]


async def test_bad_fields_are_named(room: Room) -> None:
    cursor = room.at(1)
    cursor.seq = -1
    for wish, field in (
        ({"channel_ids": ["x"]}, "channel_ids[0]"),
        ({"cursors": [cursor]}, "cursors[0].seq"),
        ({"resume_token": "x" * 20481}, "resume_token"),
    ):
        error = await refusal(
            room, StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD", **wish
        )
        assert field_names(error) == [field]


async def test_channels_that_are_made_later_join_the_stream(room: Room) -> None:
    cid = await room.server.person("Cid")
    async with room.watch() as watch, room.watch(channel_ids=[room.channel.id]) as listed:
        await watch.caught_up()
        await listed.caught_up()
        second = await direct(room.server, cid, room.bob.id)
        other = Room(room.server, cid, room.bob, second)
        await other.send_many(2)
        await watch.messages(2)
        assert {event.channel_id for event in watch.events} == {second.id}
        await room.send("last")
        await listed.messages(1)
    assert [event.channel_id for event in listed.events] == [room.channel.id]


async def test_a_channel_that_was_made_while_away_comes_whole(room: Room) -> None:
    async with room.watch() as watch:
        await watch.caught_up()
    cid = await room.server.person("Cid")
    other = Room(room.server, cid, room.bob, await direct(room.server, cid, room.bob.id))
    await other.send_many(3)
    async with room.watch(resume_token=watch.token) as watch:
        await watch.caught_up()
    assert watch.seqs == [1, 2, 3]


async def test_one_stream_carries_many_channels(room: Room) -> None:
    others = [await room.server.person(name) for name in ("Cid", "Dan", "Eve")]
    rooms = [room]
    for other in others:
        channel = await direct(room.server, other, room.bob.id)
        rooms.append(Room(room.server, other, room.bob, channel))
    await asyncio.gather(*(rooms[number % 4].send(str(number)) for number in range(40)))
    async with room.watch(cursors=[one.at(5) for one in rooms]) as watch:
        await watch.caught_up()
        await asyncio.gather(*(rooms[number % 4].send(str(number)) for number in range(40)))
        await watch.messages(60)
    async with room.watch(cursors=[one.at(5) for one in rooms]) as again:
        await again.messages(60)
    for stream in (watch, again):
        for one in rooms:
            seqs = [event.seq for event in stream.events if event.channel_id == one.channel.id]
            assert seqs == list(range(6, 21))


async def test_read_marks_come_with_the_subscription_and_when_they_move(room: Room) -> None:
    await room.send_many(3)
    await room.mark_read(2, room.ann)
    async with room.watch() as watch, room.watch(by=room.ann) as own:
        await watch.caught_up()
        await own.caught_up()
        assert [(e.read.user_id, e.read.seq) for e in watch.events] == [(room.ann.id, 2)]
        assert watch.events[0].seq == 0
        await room.mark_read(3, room.ann)
        await room.mark_read(1, room.ann)
        await room.mark_read(1, room.bob)
        for stream in (watch, own):
            await stream.until(lambda watch: len(watch.of_kind("read")) == 3)
            marks = [(e.read.user_id, e.read.seq) for e in stream.of_kind("read")]
            assert marks == [(room.ann.id, 2), (room.ann.id, 3), (room.bob.id, 1)]


async def test_heartbeats_carry_the_present_positions(make_room: Callable[..., Any]) -> None:
    room: Room = await make_room(stream_heartbeat_seconds=0.1)
    async with room.watch() as watch:
        await watch.until(lambda watch: watch.heartbeats == 3)
        await room.send_many(2)
        await watch.messages(2)
        beats = watch.heartbeats
        await watch.until(lambda watch: watch.heartbeats > beats + 1)
    async with room.watch(resume_token=watch.token) as again:
        await again.caught_up()
    assert again.seqs == []
