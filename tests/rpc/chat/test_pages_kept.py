"""Pages of the history are kept for whoever reads them next: nobody may see an old one."""

import asyncio

from grpc import StatusCode

from tests.rpc.chat.scenes import Room
from tests.rpc.chat.talk import delete, edit, leave, react, send, unreact
from tests.support.statuses import code_of, refused


async def test_whatever_is_changed_is_on_the_next_page(room: Room) -> None:
    first = await room.send("first")
    await room.send("second")
    changes = [
        lambda: edit(room, first.id, "changed"),
        lambda: react(room, first.id, by=room.bob),
        lambda: unreact(room, first.id, by=room.bob),
        lambda: send(room, "an answer", reply_to_id=first.id),
        lambda: delete(room, first.id),
    ]
    seen = []
    for change in changes:
        before = await room.list(by=room.bob)
        assert await room.list(by=room.ann) == before
        await change()
        for person in (room.ann, room.bob):
            page = await room.list(by=person)
            assert page != before
            seen.append(next(each for each in page.messages if each.id == first.id))
    texts = [message.text for message in seen[::2]]
    assert texts == ["changed", "changed", "changed", "changed", ""]
    assert [len(message.reactions) for message in seen[::2]] == [0, 1, 0, 0, 0]
    assert [message.reply_count for message in seen[::2]] == [0, 0, 0, 1, 1]
    assert seen[::2] == seen[1::2]


async def test_who_has_left_reads_no_page_that_others_have_read(room: Room) -> None:
    await room.send("between us")
    page = await room.list(by=room.ann)
    assert await room.list(by=room.bob) == page
    await leave(room, room.bob)
    await refused(
        room.list(by=room.bob), StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"
    )
    assert list((await room.list(by=room.ann)).messages) == list(page.messages)


async def test_many_who_read_beside_a_writer_see_what_was_stored_before(room: Room) -> None:
    """Each reads right after a send was acknowledged, and has to find it."""

    async def read(number: int) -> bool:
        sent = await room.send(f"message {number}")
        pages = await asyncio.gather(*(room.list(by=who) for who in (room.ann, room.bob)))
        return all(sent in page.messages for page in pages)

    for turn in range(5):
        found = await asyncio.gather(*(read(turn * 10 + number) for number in range(10)))
        assert all(found)


async def test_a_stranger_beside_members_is_a_stranger(room: Room) -> None:
    await room.send("between us")
    cid = await room.server.person("Cid")
    codes = await asyncio.gather(
        *(code_of(room.list(by=who)) for who in (room.ann, cid, room.bob, cid, room.ann))
    )
    ok, absent = StatusCode.OK, StatusCode.NOT_FOUND
    assert codes == [ok, absent, ok, absent, ok]
