"""Answers to messages."""

import asyncio

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import event_service_pb2 as events
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, direct
from tests.rpc.chat.talk import (
    archive,
    command,
    delete,
    edit,
    get,
    group_of,
    leave,
    replies,
    result_of,
    send,
    set_channel,
)
from tests.support.statuses import failure_of, refused

NO_REPLY = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_REPLY_TO_NOT_FOUND")
REUSED = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_CLIENT_ID_REUSED")
NOT_FOUND = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_MESSAGE_NOT_FOUND")
NO_CHANNEL = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


async def test_answers_to_answers_belong_to_one_thread(room: Room) -> None:
    root, aside = await send(room, "root"), await send(room, "aside")
    async with room.watch() as watch:
        await watch.caught_up()
        first = await send(room, "first", by=room.bob, reply_to_id=root.id)
        second = await send(room, "second", reply_to_id=first.id)
        await watch.messages(2)
    assert [event.message for event in watch.of_kind("message")] == [first, second]
    assert (first.reply_to_id, first.thread_id) == (root.id, root.id)
    assert (second.reply_to_id, second.thread_id) == (first.id, root.id)
    assert list((await replies(room, root.id, by=room.bob)).messages) == [first, second]
    for none in (first, second, aside):
        assert not (await replies(room, none.id)).messages
    read = (await get(room, root.id)).message
    assert (read.reply_count, read.change) == (2, 0), "new answers are messages, and no change"
    assert [message.seq for message in (await room.list()).messages] == [4, 3, 2, 1]


async def test_a_thread_comes_in_pages(room: Room) -> None:
    root = await send(room, "root")
    for number in range(7):
        await send(room, f"answer {number}", reply_to_id=root.id)
    seen: list[str] = []
    token = ""
    for _ in range(5):
        page = await replies(room, root.id, page_size=3, page_token=token)
        seen += [message.text for message in page.messages]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"answer {number}" for number in range(7)]
    token = (await replies(room, root.id, page_size=3)).next_page_token
    page_of_others = replies(room, root.id, by=room.bob, page_token=token)
    await refused(
        page_of_others, StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN"
    )
    error = await failure_of(replies(room, root.id, page_size=201))
    assert error.code() is StatusCode.INVALID_ARGUMENT


async def test_what_is_deleted_keeps_its_place_in_the_thread(room: Room) -> None:
    root = await send(room, "root")
    first = await send(room, "first", reply_to_id=root.id)
    second = await send(room, "second", reply_to_id=first.id)
    gone = await delete(room, first.id)
    assert list((await replies(room, root.id)).messages) == [gone, second]
    await delete(room, root.id)
    assert list((await replies(room, root.id)).messages) == [gone, second]
    # The thread goes on, though what began it is gone.
    third = await send(room, "third", reply_to_id=second.id)
    assert third.thread_id == root.id
    assert (await get(room, root.id)).message.reply_count == 3


async def test_only_what_is_there_can_be_answered(room: Room) -> None:
    cid = await room.server.person("Cid")
    other = Room(room.server, cid, room.bob, await direct(room.server, cid, room.bob.id))
    foreign, gone = await send(other), await send(room)
    group = await group_of(room)
    elsewhere = await send(group)
    await delete(room, gone.id)
    for target in (foreign.id, gone.id, elsewhere.id, new_id()):
        await refused(send(room, reply_to_id=target), *NO_REPLY)
    error = await failure_of(send(room, reply_to_id="x"))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    # Nobody learns by answering what is in a channel of others.
    for target in (foreign.id, new_id()):
        await refused(send(other, by=room.ann, reply_to_id=target), *NO_CHANNEL)
    assert (await room.list()).cursor.seq == 1


async def test_strangers_see_no_thread(room: Room) -> None:
    root = await send(room)
    cid = await room.server.person("Cid")
    await refused(replies(room, root.id, by=cid), *NOT_FOUND)
    await refused(replies(room, new_id()), *NOT_FOUND)
    await leave(room, room.bob)
    await refused(replies(room, root.id, by=room.bob), *NOT_FOUND)


async def test_nothing_is_answered_where_nothing_is_said(room: Room) -> None:
    root = await send(room)
    await set_channel(room, blocked=True)
    code = StatusCode.FAILED_PRECONDITION
    await refused(send(room, reply_to_id=root.id), code, "CHAT_ERROR_REASON_BLOCKED")
    await archive(room)
    await refused(send(room, reply_to_id=root.id), code, "CHAT_ERROR_REASON_CHANNEL_ARCHIVED")


async def test_a_retry_gets_its_answer(room: Room) -> None:
    root, other = await send(room, "root"), await send(room, "other")
    answer = await send(room, "yes", client_id="x", reply_to_id=root.id)
    assert await send(room, "yes", client_id="x", reply_to_id=root.id) == answer
    await delete(room, root.id)
    assert await send(room, "yes", client_id="x", reply_to_id=root.id) == answer
    edited = await edit(room, answer.id, "no")
    assert await send(room, "yes", client_id="x", reply_to_id=root.id) == edited
    for fields in ({}, {"reply_to_id": other.id}, {"reply_to_id": new_id()}):
        await refused(send(room, "yes", client_id="x", **fields), *REUSED)
    await refused(send(room, "no", client_id="x", reply_to_id=root.id), *REUSED)
    await refused(send(room, "other", client_id=other.client_id, reply_to_id=root.id), *REUSED)
    assert (await get(room, root.id)).message.reply_count == 1


async def test_a_retry_by_somebody_who_left_gets_its_answer(room: Room) -> None:
    root = await send(room, "root")
    answer = await send(room, "yes", client_id="x", reply_to_id=root.id)
    await leave(room, room.ann)
    assert await send(room, "yes", client_id="x", reply_to_id=root.id) == answer
    await refused(send(room, "no", client_id="x", reply_to_id=root.id), *NO_CHANNEL)


async def test_retries_side_by_side_are_one_answer(patient_room: Room) -> None:
    room = patient_room
    root = await send(room, "root")
    sent = await asyncio.gather(
        *(send(room, "yes", client_id="x", reply_to_id=root.id) for _ in range(10))
    )
    assert all(one == sent[0] for one in sent)
    assert (await get(room, root.id)).message.reply_count == 1


async def test_answers_side_by_side_are_all_counted(patient_room: Room) -> None:
    room = patient_room
    root = await send(room, "root")
    await asyncio.gather(*(send(room, str(number), reply_to_id=root.id) for number in range(40)))
    assert (await get(room, root.id)).message.reply_count == 40
    listed = (await replies(room, root.id)).messages
    assert [message.seq for message in listed] == list(range(2, 42))


@pytest.mark.parametrize("target", ["root", "gone", "nobody"])
async def test_answers_over_connect(room: Room, target: str) -> None:
    root, gone = await send(room, "root"), await send(room, "gone")
    await delete(room, gone.id)
    targets = {"root": root.id, "gone": gone.id, "nobody": new_id()}
    one = events.SendMessageCommand(
        channel_id=room.channel.id, client_id="x", text="yes", reply_to_id=targets[target]
    )
    [first, again] = await command(room, one, one)
    assert result_of(first) == ("message" if target == "root" else NO_REPLY[1])
    assert result_of(again) == result_of(first)
    assert first.message == again.message
    if target == "root":
        assert list((await replies(room, root.id)).messages) == [first.message]
