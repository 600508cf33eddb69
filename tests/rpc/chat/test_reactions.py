"""Emoji under messages."""

import asyncio
from urllib.parse import quote

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import channel_pb2
from server.chat.models import Reaction
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.scenes import Room, direct, in_unit
from tests.rpc.chat.talk import (
    archive,
    delete,
    edit,
    get,
    group_of,
    leave,
    pass_time,
    react,
    send,
    set_channel,
    unreact,
)
from tests.support.statuses import failure_of, reason_of, refused

NOT_FOUND = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_MESSAGE_NOT_FOUND")
TOO_MANY = (StatusCode.FAILED_PRECONDITION, "CHAT_ERROR_REASON_TOO_MANY_REACTIONS")
FAMILY = "\u200d".join("👨👩👧👦")
KISS = "👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏿"
ENGLAND = "🏴" + "".join(chr(0xE0000 + ord(sign)) for sign in "gbeng\x7f")
EMOJI = ["👍", "❤\ufe0f", FAMILY, KISS, ENGLAND, "1\ufe0f\u20e3", "🇩🇪", "+1", "好", "é", "%", "/"]
EMOJI += ["a?b#c", "..", "\U0001fae8", "\U0001fae9"]
WRONG = [
    "",
    " ",
    "a b",
    "\u00a0",
    "👍\n",
    "\0",
    "\u200d",
    "\ufe0f",
    "\u202e👍",
    "👍\u202e",
    "👍\u200b",
    "\u2028",
    "\ufeff",
    "\x7f",
    "x" * 17,
    "\u0301",
]


def shown(message: channel_pb2.Message) -> list[tuple[str, int, list[str]]]:
    """Emoji, count and users of each."""
    return [(one.emoji, one.count, list(one.user_ids)) for one in message.reactions]


async def test_reactions_reach_everybody(room: Room) -> None:
    message = await send(room)
    async with room.watch(by=room.ann) as watch:
        await watch.caught_up()
        await react(room, message.id, by=room.bob)
        await watch.until(lambda watch: watch.of_kind("changed"))
        pass_time(room, 1)
        await react(room, message.id, "🎉")
        pass_time(room, 1)
        reacted = await react(room, message.id)
        await watch.until(lambda watch: watch.events[-1].change == 3)
    ann, bob = room.ann.id, room.bob.id
    assert shown(reacted) == [("👍", 2, [bob, ann]), ("🎉", 1, [ann])]
    assert watch.of_kind("changed")[-1].changed == reacted
    assert (await get(room, message.id, by=room.bob)).message == reacted
    gone = await unreact(room, message.id, by=room.bob)
    assert shown(gone) == [("🎉", 1, [ann]), ("👍", 1, [ann])], (
        "the oldest that is left comes first"
    )
    assert not gone.HasField("edit_time")


async def test_repeats_change_nothing(room: Room) -> None:
    message = await send(room)
    first = await react(room, message.id)
    assert await react(room, message.id) == first
    gone = await unreact(room, message.id)
    assert shown(gone) == []
    assert await unreact(room, message.id) == gone
    assert await unreact(room, message.id, "🎉") == gone
    assert (first.change, gone.change, (await room.list()).cursor.change) == (1, 2, 2)


async def test_a_stream_that_was_away_gets_them_once(room: Room) -> None:
    message = await send(room)
    async with room.watch() as watch:
        await watch.caught_up()
    for emoji in ("👍", "🎉", "❤️"):
        reacted = await react(room, message.id, emoji)
    async with room.watch(resume_token=watch.token) as again:
        await again.caught_up()
    assert [event.changed for event in again.of_kind("changed")] == [reacted]


@pytest.mark.parametrize("emoji", EMOJI, ids=lambda emoji: quote(emoji))
async def test_what_is_an_emoji(room: Room, emoji: str) -> None:
    message = await send(room)
    assert shown(await react(room, message.id, emoji)) == [(emoji, 1, [room.ann.id])]
    assert shown(await unreact(room, message.id, emoji)) == []


async def test_what_is_none(room: Room) -> None:
    message = await send(room)
    for emoji in WRONG:
        for call in (react, unreact):
            error = await failure_of(call(room, message.id, emoji))
            assert error.code() is StatusCode.INVALID_ARGUMENT, ascii(emoji)
            assert "emoji" in str(error.trailing_metadata())


async def test_a_message_takes_twenty_emojis(room: Room) -> None:
    message = await send(room)
    for number in range(20):
        await react(room, message.id, f"e{number}", by=(room.ann, room.bob)[number % 2])
    await refused(react(room, message.id, "e20"), *TOO_MANY)
    await refused(react(room, message.id, "e20", by=room.bob), *TOO_MANY)
    assert len((await react(room, message.id, "e1")).reactions) == 20
    await unreact(room, message.id, "e0")
    assert len((await react(room, message.id, "e20")).reactions) == 20


async def test_members_only(room: Room) -> None:
    message = await send(room)
    stranger = await room.server.person("Cid")
    await direct(room.server, stranger, room.bob.id)
    for call in (react, unreact):
        await refused(call(room, message.id, by=stranger), *NOT_FOUND)
        await refused(call(room, new_id()), *NOT_FOUND)
    await leave(room, room.bob)
    await refused(react(room, message.id, by=room.bob), *NOT_FOUND)


async def test_not_where_nothing_is_said(room: Room) -> None:
    message, gone = await send(room), await send(room)
    await react(room, message.id)
    await react(room, gone.id)
    await delete(room, gone.id)
    for call in (react, unreact):
        await refused(
            call(room, gone.id),
            StatusCode.FAILED_PRECONDITION,
            "CHAT_ERROR_REASON_MESSAGE_DELETED",
        )
        await set_channel(room, blocked=True)
        await refused(
            call(room, message.id), StatusCode.FAILED_PRECONDITION, "CHAT_ERROR_REASON_BLOCKED"
        )
        await set_channel(room, blocked=False)
    await archive(room)
    for call in (react, unreact):
        await refused(
            call(room, message.id),
            StatusCode.FAILED_PRECONDITION,
            "CHAT_ERROR_REASON_CHANNEL_ARCHIVED",
        )


async def test_reactions_stay_through_edits_and_a_retry_of_the_send_shows_them(room: Room) -> None:
    client_id = new_id()
    message = await send(room, "one", client_id=client_id)
    await react(room, message.id, by=room.bob)
    edited = await edit(room, message.id, "two")
    assert shown(edited) == [("👍", 1, [room.bob.id])]
    assert await send(room, "one", client_id=client_id) == edited


async def test_the_first_hundred_are_named(room: Room) -> None:
    """Rows are made behind the server's back: 150 people would take a while to sign up."""
    group = await group_of(room)
    message = await send(group)
    start = room.server.clock.now()

    def fill(unit: Unit) -> list[str]:
        from server.auth.models import User

        users = [new_id() for _ in range(150)]
        for user_id in users:
            User.create(id=user_id, email=f"{user_id}@example.com", status="ACTIVE")
            Reaction.insert(
                message_id=message.id,
                user_id=user_id,
                emoji="👍",
                create_time=start,
                update_time=unit.now,
            ).execute()
        return users

    users = await in_unit(room.server, fill)
    pass_time(room, 1)
    [reaction] = (await react(group, message.id)).reactions
    assert (reaction.count, list(reaction.user_ids)) == (151, users[:100])


async def test_two_at_once(patient_room: Room) -> None:
    room = patient_room
    message = await send(room)
    emojis = [f"e{number}" for number in range(10)]
    reacted = await asyncio.gather(
        *(react(room, message.id, emoji, by=by) for emoji in emojis for by in (room.ann, room.bob)),
        *(react(room, message.id, emojis[0]) for _ in range(5)),
    )
    last = (await get(room, message.id)).message
    assert {one.emoji: one.count for one in last.reactions} == dict.fromkeys(emojis, 2)
    assert last.change == 20 == (await room.list()).cursor.change
    assert max(reacted, key=lambda one: one.change) == last


async def test_the_limit_holds_for_all_at_once(patient_room: Room) -> None:
    room = patient_room
    message = await send(room)
    outcomes = await asyncio.gather(
        *(react(room, message.id, f"e{number}") for number in range(26)), return_exceptions=True
    )
    refusals = [reason_of(one) for one in outcomes if isinstance(one, BaseException)]  # type: ignore[arg-type]
    assert refusals == [TOO_MANY[1]] * 6
    assert len((await get(room, message.id)).message.reactions) == 20
