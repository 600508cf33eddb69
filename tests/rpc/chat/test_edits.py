"""Messages that get another text."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from server.chat.models import Edit, Message
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.scenes import Room, direct, in_unit
from tests.rpc.chat.talk import (
    TableShelf,
    archive,
    delete,
    edit,
    get,
    group_of,
    leave,
    pass_time,
    react,
    row_of,
    send,
    set_channel,
)
from tests.support.statuses import failure_of, field_names, reason_of, refused

FORBIDS = (StatusCode.PERMISSION_DENIED, "CHAT_ERROR_REASON_ROLE_FORBIDS")
NOT_FOUND = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_MESSAGE_NOT_FOUND")
STALE = (StatusCode.ABORTED, "WIRE_ERROR_REASON_ETAG_MISMATCH")


def precondition(reason: str) -> tuple[StatusCode, str]:
    return StatusCode.FAILED_PRECONDITION, f"CHAT_ERROR_REASON_{reason}"


def invalid(reason: str) -> tuple[StatusCode, str]:
    return StatusCode.INVALID_ARGUMENT, f"CHAT_ERROR_REASON_{reason}"


async def test_an_edit_reaches_everybody_and_keeps_the_earlier_text(room: Room) -> None:
    first = await send(room, "helo")
    async with room.watch() as watch:
        await watch.caught_up()
        pass_time(room, 60)
        edited = await edit(room, first.id, "hello")
        await watch.until(lambda watch: watch.of_kind("changed"))
    [event] = watch.of_kind("changed")
    assert event.changed == edited
    assert (edited.text, edited.seq, edited.change, event.change) == ("hello", 1, 1, 1)
    assert edited.create_time == first.create_time
    assert edited.edit_time.ToMicroseconds() == first.create_time.ToMicroseconds() + 60_000_000
    read = await get(room, first.id, by=room.bob, edits=True)
    assert read.message == edited
    assert not read.earlier_texts, "for the sender and admins only"
    assert [one.text for one in (await get(room, first.id, edits=True)).earlier_texts] == ["helo"]
    assert not (await get(room, first.id)).earlier_texts, "only when asked for"
    assert [message.text for message in (await room.list()).messages] == ["hello"]


async def test_a_stream_that_was_away_gets_the_edit_once(room: Room) -> None:
    message = await send(room, "one")
    async with room.watch() as watch:
        await watch.caught_up()
    await edit(room, message.id, "two")
    await edit(room, message.id, "three")
    async with room.watch(resume_token=watch.token) as again:
        await again.caught_up()
    assert [event.changed.text for event in again.of_kind("changed")] == ["three"]
    assert not again.seqs
    async with room.watch(cursors=[room.at(0)]) as anew:
        await anew.caught_up()
    assert [event.message.text for event in anew.of_kind("message")] == ["three"]


async def test_earlier_texts_come_newest_first(room: Room) -> None:
    message = await send(room, "0")
    for number in range(1, 4):
        pass_time(room, 1)
        await edit(room, message.id, str(number))
    earlier = (await get(room, message.id, edits=True)).earlier_texts
    assert [one.text for one in earlier] == ["2", "1", "0"]
    start = message.create_time.ToMicroseconds()
    times = [one.replace_time.ToMicroseconds() - start for one in earlier]
    assert times == [3_000_000, 2_000_000, 1_000_000]


async def test_admins_of_a_group_see_earlier_texts(room: Room) -> None:
    group = await group_of(room)
    message = await send(group, "one", by=room.bob)
    await edit(group, message.id, "two", by=room.bob)
    assert [one.text for one in (await get(group, message.id, edits=True)).earlier_texts] == ["one"]


async def test_the_same_text_is_no_edit(room: Room) -> None:
    message = await send(room, "same")
    again = await edit(room, message.id, "same")
    assert (again.change, again.HasField("edit_time")) == (0, False)
    assert (await room.list()).cursor.change == 0
    assert not await in_unit(room.server, lambda _unit: Edit.select().count())


async def test_only_the_sender_edits(room: Room) -> None:
    message = await send(room, "mine")
    stranger = await room.server.person("Cid")
    await direct(room.server, stranger, room.bob.id)
    await refused(edit(room, message.id, "x", by=room.bob), *FORBIDS)
    await refused(edit(room, message.id, "x", by=stranger), *NOT_FOUND)
    await refused(edit(room, new_id(), "x"), *NOT_FOUND)
    group = await group_of(room)
    other = await send(group, "bob's", by=room.bob)
    await refused(edit(group, other.id, "x"), *FORBIDS)
    await leave(room, room.ann)
    await refused(edit(room, message.id, "x"), *NOT_FOUND)
    assert (await get(room, message.id, by=room.bob)).message == message


async def test_words_of_the_system_stay(room: Room) -> None:
    message = await send(room, "delivered")

    def make(_unit: Unit) -> None:
        Message.update(type="SYSTEM", special=True).where(Message.id == message.id).execute()

    await in_unit(room.server, make)
    await refused(edit(room, message.id, "x"), *FORBIDS)


async def test_the_window_closes(make_room: Callable[..., Any]) -> None:
    room: Room = await make_room(chat_edit_window_seconds=100)
    message = await send(room, "one")
    pass_time(room, 99.9)
    await edit(room, message.id, "two")
    pass_time(room, 0.1)
    await refused(edit(room, message.id, "three"), *precondition("EDIT_WINDOW_OVER"))


async def test_where_nothing_is_said_nothing_is_edited(room: Room) -> None:
    message, gone = await send(room, "one"), await send(room, "two")
    await delete(room, gone.id)
    await refused(edit(room, gone.id, "x"), *precondition("MESSAGE_DELETED"))
    await set_channel(room, blocked=True)
    await refused(edit(room, message.id, "x"), *precondition("BLOCKED"))
    await set_channel(room, blocked=False)
    await archive(room)
    await refused(edit(room, message.id, "x"), *precondition("CHANNEL_ARCHIVED"))


async def test_an_etag_keeps_from_overwriting_what_was_not_seen(room: Room) -> None:
    message = await send(room, "one")
    edited = await edit(room, message.id, "two", etag="0")
    for etag in ("0", "2", "x", "01", "٢"):
        await refused(edit(room, message.id, "three", etag=etag), *STALE)
    reacted = await react(room, message.id, by=room.bob)
    await refused(edit(room, message.id, "three", etag=str(edited.change)), *STALE)
    await edit(room, message.id, "three", etag=str(reacted.change))
    assert (await edit(room, message.id, "four")).text == "four"


@pytest.mark.parametrize("paths", [[], ["sender_id"], ["*"], ["text", "seq"], ["message.text"]])
async def test_the_mask_names_what_can_be_changed(room: Room, paths: list[str]) -> None:
    message = await send(room)
    await refused(
        edit(room, message.id, "x", paths=paths),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_INVALID_FIELD_MASK",
    )


async def test_what_the_mask_does_not_name_stays(room: Room) -> None:
    message = await send(room, "one", mentioned_user_ids=[room.bob.id])
    edited = await edit(room, message.id, "two")
    assert list(edited.mentioned_user_ids) == [room.bob.id]
    edited = await edit(room, message.id, "ignored", mentions=[], paths=["mentioned_user_ids"])
    assert (edited.text, list(edited.mentioned_user_ids), edited.change) == ("two", [], 2)
    assert len((await get(room, message.id, edits=True)).earlier_texts) == 1


async def test_mentions_are_members(room: Room) -> None:
    cid, dan = await room.server.person("Cid"), await room.server.person("Dan")
    group = await group_of(room, cid)
    message = await send(group, mentioned_user_ids=[cid.id])
    error = await refused(
        edit(group, message.id, mentions=[dan.id]), *invalid("MENTION_NOT_MEMBER")
    )
    assert field_names(error) == ["message.mentioned_user_ids"]
    await leave(group, cid)
    edited = await edit(group, message.id, "two", mentions=[cid.id, room.bob.id])
    assert list(edited.mentioned_user_ids) == [cid.id, room.bob.id]
    assert (edited.change, edited.text) == (1, "two")


async def test_a_text_may_go_only_when_attachments_stay(make_room: Callable[..., Any]) -> None:
    shelf = TableShelf()
    room: Room = await make_room(shelf=shelf)
    plain = await send(room, "one")
    error = await refused(edit(room, plain.id, ""), *invalid("MESSAGE_EMPTY"))
    assert field_names(error) == ["message.text"]
    picture = await send(room, "look", attachment_media_ids=[shelf.put(room.ann)])
    edited = await edit(room, picture.id, "")
    assert (edited.text, edited.attachments) == ("", picture.attachments)
    assert (await row_of(room, picture.id)).folded in (None, "")
    assert (await edit(room, picture.id, "again")).text == "again"


@pytest.mark.parametrize("text", ["a" * 4001, "\U00020000" * 4001])
async def test_a_text_that_is_too_long(room: Room, text: str) -> None:
    message = await send(room)
    error = await failure_of(edit(room, message.id, text))
    assert error.code() is StatusCode.INVALID_ARGUMENT


async def test_any_text_that_fits_is_kept(room: Room) -> None:
    message = await send(room, "one")
    texts = ["\U0002f800" * 4000, "‮مرحبا\u202c שלום", "a" * 4000, "\ufffe\u0001\x7f", "﷽" * 4000]
    for text in texts:
        assert (await edit(room, message.id, text)).text == text
    earlier = (await get(room, message.id, edits=True)).earlier_texts
    assert [one.text for one in earlier] == [*reversed(texts[:-1]), "one"]
    error = await failure_of(edit(room, message.id, "nul\0"))
    assert error.code() is StatusCode.INVALID_ARGUMENT


async def test_a_late_retry_of_the_send_gets_the_edited_message(room: Room) -> None:
    client_id = new_id()
    sent = await send(room, "one", client_id=client_id)
    edited = await edit(room, sent.id, "two")
    assert await send(room, "one", client_id=client_id) == edited
    again = await edit(room, sent.id, "three")
    assert await send(room, "one", client_id=client_id) == again
    for text in ("two", "three", "another"):
        await refused(send(room, text, client_id=client_id), *invalid("CLIENT_ID_REUSED"))


async def test_edits_side_by_side_leave_one_history(patient_room: Room) -> None:
    room = patient_room
    message = await send(room, "0")
    numbers = [str(number) for number in range(1, 13)]
    edits = await asyncio.gather(*(edit(room, message.id, number) for number in numbers))
    assert sorted(one.change for one in edits) == list(range(1, 13))
    read = await get(room, message.id, edits=True)
    texts = [one.text for one in read.earlier_texts]
    assert sorted([*texts, read.message.text], key=int) == ["0", *numbers]
    assert read.message.text == max(edits, key=lambda one: one.change).text
    assert texts[-1] == "0"


async def test_of_two_edits_with_one_etag_one_wins(patient_room: Room) -> None:
    room = patient_room
    message = await send(room, "0")
    outcomes = await asyncio.gather(
        *(edit(room, message.id, str(number), etag="0") for number in range(8)),
        return_exceptions=True,
    )
    # One of them is the same text as before: it may win as well, for it changes nothing.
    won = [one for one in outcomes if not isinstance(one, BaseException) and one.change]
    lost = [reason_of(one) for one in outcomes if isinstance(one, BaseException)]  # type: ignore[arg-type]
    assert len(won) == 1
    assert set(lost) == {"WIRE_ERROR_REASON_ETAG_MISMATCH"}
    assert (await get(room, message.id)).message == won[0]
