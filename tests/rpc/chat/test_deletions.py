"""Messages of which a tombstone is left."""

import asyncio
from collections.abc import Callable
from typing import Any

from grpc import StatusCode

from greenroom.auth.v1 import audit_service_pb2
from greenroom.chat.v1 import channel_pb2
from server.chat.models import Edit, Message, Reaction
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.staff import member_of_staff
from tests.rpc.chat.scenes import Room, direct, in_unit
from tests.rpc.chat.talk import (
    TableShelf,
    archive,
    delete,
    edit,
    found,
    get,
    group_of,
    leave,
    pass_time,
    react,
    replies,
    row_of,
    send,
    set_channel,
    unreact,
)
from tests.support.statuses import reason_of, refused

FORBIDS = (StatusCode.PERMISSION_DENIED, "CHAT_ERROR_REASON_ROLE_FORBIDS")
NOT_FOUND = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_MESSAGE_NOT_FOUND")
REUSED = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_CLIENT_ID_REUSED")
DELETED = "CHAT_ERROR_REASON_MESSAGE_DELETED"


async def leftovers(room: Room, message_id: str) -> tuple[int, int]:
    """Earlier texts and reactions of a message that are stored."""

    def count(_unit: Unit) -> tuple[int, int]:
        edits = Edit.select().where(Edit.message_id == message_id).count()
        return edits, Reaction.select().where(Reaction.message_id == message_id).count()

    return await in_unit(room.server, count)


async def test_only_the_place_is_left(make_room: Callable[..., Any]) -> None:
    shelf = TableShelf()
    room: Room = await make_room(shelf=shelf)
    root = await send(room, "root")
    message = await send(
        room,
        "secret plan",
        reply_to_id=root.id,
        attachment_media_ids=[shelf.put(room.ann)],
        mentioned_user_ids=[room.bob.id],
    )
    await edit(room, message.id, "secret plans")
    await react(room, message.id, by=room.bob)
    assert await leftovers(room, message.id) == (1, 1)
    async with room.watch() as watch:
        await watch.caught_up()
        pass_time(room, 5)
        gone = await delete(room, message.id)
        await watch.until(lambda watch: watch.of_kind("changed"))
    made = message.create_time.ToMicroseconds()
    wanted = channel_pb2.Message(
        id=message.id,
        channel_id=room.channel.id,
        seq=2,
        sender_id=room.ann.id,
        client_id=message.client_id,
        create_time=message.create_time,
        type=channel_pb2.MESSAGE_TYPE_IMAGE,
        reply_to_id=root.id,
        thread_id=root.id,
        change=3,
    )
    wanted.delete_time.FromMicroseconds(made + 5_000_000)
    assert gone == wanted
    assert [event.changed for event in watch.of_kind("changed")] == [gone]
    read = await get(room, message.id, edits=True)
    assert (read.message, len(read.earlier_texts)) == (gone, 0)
    assert await leftovers(room, message.id) == (0, 0)
    row = await row_of(room, message.id)
    assert (row.deleted_by, row.folded, row.attachments) == (room.ann.id, None, None)
    assert not await found(room, "secret")
    assert list((await replies(room, root.id)).messages) == [gone]
    assert (await room.list()).messages[0] == gone


async def test_a_repeat_changes_nothing(room: Room) -> None:
    message = await send(room)
    first = await delete(room, message.id)
    pass_time(room, 10)
    assert await delete(room, message.id) == first
    assert (await room.list()).cursor.change == 1


async def test_a_stream_that_was_away_gets_the_tombstone_once(room: Room) -> None:
    message = await send(room, "one")
    async with room.watch() as watch:
        await watch.caught_up()
    await edit(room, message.id, "two")
    gone = await delete(room, message.id)
    async with room.watch(resume_token=watch.token) as again:
        await again.caught_up()
    assert [event.changed for event in again.of_kind("changed")] == [gone]
    async with room.watch(cursors=[room.at(0, change=0)]) as anew:
        await anew.caught_up()
    assert all(not event.message.text for event in anew.events)


async def test_who_may_delete(room: Room) -> None:
    stranger = await room.server.person("Cid")
    await direct(room.server, stranger, room.bob.id)
    message = await send(room)
    await refused(delete(room, message.id, by=room.bob), *FORBIDS)
    await refused(delete(room, message.id, by=stranger), *NOT_FOUND)
    await refused(delete(room, new_id()), *NOT_FOUND)
    group = await group_of(room)
    of_ann, of_bob = await send(group), await send(group, by=room.bob)
    await refused(delete(group, of_ann.id, by=room.bob), *FORBIDS)
    assert (await delete(group, of_bob.id)).HasField("delete_time")
    assert (await row_of(group, of_bob.id)).deleted_by == room.ann.id
    await leave(room, room.ann)
    await refused(delete(room, message.id), *NOT_FOUND)


async def test_an_admin_of_anything_but_a_group_deletes_their_own_only(room: Room) -> None:
    channel = await group_of(room)
    message = await send(channel, by=room.bob)
    await set_channel(channel, type="TICKET", ticket_id=new_id())
    await refused(delete(channel, message.id), *FORBIDS)


async def test_staff_delete_what_they_cannot_read_and_it_is_audited(room: Room) -> None:
    message = await send(room, "spam")
    admin = await member_of_staff(room.server, "admin", "Admin")
    agent = await member_of_staff(room.server, "agent", "Agent")
    await refused(delete(room, message.id, by=agent), *NOT_FOUND)
    await refused(get(room, message.id, by=admin), *NOT_FOUND)
    gone = await delete(room, message.id, by=admin)
    assert (gone.text, gone.HasField("delete_time")) == ("", True)
    reply = await room.server.audit.ListAuditEvents(
        audit_service_pb2.ListAuditEventsRequest(action="message.delete"), metadata=admin.metadata
    )
    [event] = reply.events
    assert (event.resource, event.actor_id) == (f"messages/{message.id}", admin.id)
    await delete(room, (await send(room)).id)
    reply = await room.server.audit.ListAuditEvents(
        audit_service_pb2.ListAuditEventsRequest(action="message.delete"), metadata=admin.metadata
    )
    assert len(reply.events) == 1, "a sender's own deletion is nobody's business"


async def test_a_sender_deletes_at_any_time(make_room: Callable[..., Any]) -> None:
    room: Room = await make_room(chat_edit_window_seconds=0)
    message = await send(room)
    await set_channel(room, blocked=True)
    await archive(room)
    assert (await delete(room, message.id)).HasField("delete_time")


async def test_a_late_retry_of_the_send_gets_the_tombstone(make_room: Callable[..., Any]) -> None:
    shelf = TableShelf()
    room: Room = await make_room(shelf=shelf)
    media, root = shelf.put(room.ann), await send(room, "root")
    sends: list[dict[str, Any]] = [
        {"text": "plain"},
        {"text": "look", "attachment_media_ids": [media]},
        {"text": "answer", "reply_to_id": root.id, "mentioned_user_ids": [room.bob.id]},
    ]
    kept = dict(shelf.media)
    for fields in sends:
        client_id = new_id()
        shelf.media = dict(kept)
        sent = await send(room, **fields, client_id=client_id)
        gone = await delete(room, sent.id)
        shelf.media.clear()
        assert await send(room, **fields, client_id=client_id) == gone
        await refused(send(room, "", client_id=client_id, attachment_media_ids=[media]), *REUSED)
        await refused(send(room, "other", client_id=client_id), *REUSED)
    assert (await room.list()).cursor.seq == 4


async def test_edits_against_a_deletion(patient_room: Room) -> None:
    """Whatever comes first, the tombstone has nothing left of any text."""
    room = patient_room
    for _ in range(10):
        message = await send(room, "text")
        outcomes = await asyncio.gather(
            edit(room, message.id, "texts"),
            delete(room, message.id),
            edit(room, message.id, "text again"),
            react(room, message.id, by=room.bob),
            unreact(room, message.id, by=room.bob),
            return_exceptions=True,
        )
        refusals = {reason_of(one) for one in outcomes if isinstance(one, BaseException)}  # type: ignore[arg-type]
        assert refusals <= {DELETED}
        read = (await get(room, message.id, edits=True)).message
        assert (read.text, len(read.reactions), read.HasField("edit_time")) == ("", 0, False)
        assert await leftovers(room, message.id) == (0, 0)
    assert not await found(room, "text")


async def test_deletions_side_by_side_are_one(patient_room: Room) -> None:
    room = patient_room
    message = await send(room)
    gone = await asyncio.gather(*(delete(room, message.id) for _ in range(8)))
    assert all(one == gone[0] for one in gone)
    assert (await room.list()).cursor.change == 1


async def test_answers_to_what_is_being_deleted(patient_room: Room) -> None:
    """An answer is either there and counted, or refused; the numbers have no gap."""
    room = patient_room
    for number in range(5):
        root = await send(room, f"root {number}")
        outcomes = await asyncio.gather(
            send(room, "answer", by=room.bob, reply_to_id=root.id),
            delete(room, root.id),
            send(room, "answer", by=room.bob, reply_to_id=root.id),
            return_exceptions=True,
        )
        sent = [one for one in outcomes if isinstance(one, channel_pb2.Message) and one.text]
        read = (await get(room, root.id)).message
        assert (read.text, read.reply_count) == ("", len(sent))
        listed = (await replies(room, root.id)).messages
        assert {one.id for one in listed} == {one.id for one in sent}

    def seqs(_unit: Unit) -> list[int]:
        rows = Message.select().where(Message.channel_id == room.channel.id)
        return [row.seq for row in rows.order_by(Message.seq)]

    assert (found_seqs := await in_unit(room.server, seqs)) == list(range(1, len(found_seqs) + 1))
