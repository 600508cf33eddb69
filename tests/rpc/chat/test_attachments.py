"""Messages that hold more than text."""

from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room
from tests.rpc.chat.talk import TableShelf, command, edit, found, get, result_of, send
from tests.support.statuses import failure_of, refused

NO_MEDIA = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_MEDIA_NOT_FOUND")
MISMATCH = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_TYPE_MISMATCH")
EMPTY = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_MESSAGE_EMPTY")
REUSED = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_CLIENT_ID_REUSED")
Type = channel_pb2.MessageType


@pytest.fixture
def shelf() -> TableShelf:
    """The media of the test."""
    return TableShelf()


@pytest.fixture
async def gallery(make_room: Callable[..., Any], shelf: TableShelf) -> Room:
    """A room on a server with media."""
    made: Room = await make_room(shelf=shelf)
    return made


async def test_files_go_with_a_message(gallery: Room, shelf: TableShelf) -> None:
    media = [shelf.put(gallery.ann, name=name) for name in ("b.png", "a.png", "ü 猫.png")]
    async with gallery.watch() as watch:
        await watch.caught_up()
        message = await send(gallery, "look", attachment_media_ids=media)
        await watch.messages(1)
    assert message.type == Type.MESSAGE_TYPE_IMAGE
    assert [one.media_id for one in message.attachments] == media
    assert message.attachments[2] == channel_pb2.Attachment(
        media_id=media[2],
        type=Type.MESSAGE_TYPE_IMAGE,
        name="ü 猫.png",
        content_type="image/png",
        size_bytes=1234,
    )
    assert watch.of_kind("message")[0].message == message
    assert (await get(gallery, message.id, by=gallery.bob)).message == message
    assert list((await gallery.list(by=gallery.bob)).messages) == [message]
    async with gallery.watch(cursors=[gallery.at(0)]) as again:
        await again.messages(1)
    assert again.of_kind("message")[0].message == message
    assert await found(gallery, "look") == ["look"]


@pytest.mark.parametrize(
    ("kinds", "asked", "wanted"),
    [
        ("IMAGE", "", "IMAGE"),
        ("IMAGE IMAGE", "IMAGE", "IMAGE"),
        ("IMAGE", "FILE", "FILE"),
        ("VIDEO", "", "VIDEO"),
        ("AUDIO", "AUDIO", "AUDIO"),
        ("FILE", "", "FILE"),
        ("IMAGE VIDEO", "", "FILE"),
        ("IMAGE VIDEO", "FILE", "FILE"),
        ("IMAGE", "VIDEO", None),
        ("IMAGE", "TEXT", None),
        ("FILE", "IMAGE", None),
        ("IMAGE VIDEO", "IMAGE", None),
        ("", "TEXT", "TEXT"),
        ("", "IMAGE", None),
        ("", "FILE", None),
    ],
)
async def test_types(
    gallery: Room, shelf: TableShelf, kinds: str, asked: str, wanted: str | None
) -> None:
    media = [shelf.put(gallery.ann, kind) for kind in kinds.split()]
    kind = Type.Value(f"MESSAGE_TYPE_{asked or 'UNSPECIFIED'}")
    call = send(gallery, "x", attachment_media_ids=media, type=kind)
    if wanted is None:
        await refused(call, *MISMATCH)
    else:
        assert (await call).type == Type.Value(f"MESSAGE_TYPE_{wanted}")


@pytest.mark.parametrize("kind", [6, 7, -1])
async def test_nobody_speaks_for_the_system(room: Room, kind: int) -> None:
    error = await failure_of(send(room, type=kind))
    assert (error.code(), "type" in str(error.trailing_metadata())) == (
        StatusCode.INVALID_ARGUMENT,
        True,
    )


async def test_what_cannot_be_sent(gallery: Room, shelf: TableShelf) -> None:
    mine, theirs = shelf.put(gallery.ann), shelf.put(gallery.bob)
    for media in ([theirs], [new_id()], [mine, new_id()], [mine, theirs]):
        await refused(send(gallery, attachment_media_ids=media), *NO_MEDIA)
    for media in ([mine, mine], ["x"], [new_id() for _ in range(11)]):
        error = await failure_of(send(gallery, attachment_media_ids=media))
        assert (error.code(), "attachment_media_ids" in str(error.trailing_metadata())) == (
            StatusCode.INVALID_ARGUMENT,
            True,
        )
    assert (await gallery.list()).cursor.seq == 0


async def test_a_server_without_media_has_none_ready(room: Room) -> None:
    await refused(send(room, attachment_media_ids=[new_id()]), *NO_MEDIA)


async def test_a_message_holds_something(gallery: Room, shelf: TableShelf) -> None:
    await refused(send(gallery, ""), *EMPTY)
    await refused(send(gallery, "", mentioned_user_ids=[gallery.bob.id]), *EMPTY)
    message = await send(gallery, "", attachment_media_ids=[shelf.put(gallery.ann)])
    assert (message.text, len(message.attachments)) == ("", 1)
    assert (
        await send(
            gallery,
            "",
            client_id=message.client_id,
            attachment_media_ids=[message.attachments[0].media_id],
        )
        == message
    )


async def test_a_retry_is_the_same_files_in_the_same_order(
    gallery: Room, shelf: TableShelf
) -> None:
    one, two = shelf.put(gallery.ann), shelf.put(gallery.ann)
    sent = {"text": "look", "client_id": "x", "attachment_media_ids": [one, two]}
    message = await send(gallery, **sent)  # type: ignore[arg-type]
    image = Type.MESSAGE_TYPE_IMAGE
    others: list[dict[str, Any]] = [
        {"attachment_media_ids": [two, one]},
        {"attachment_media_ids": [one]},
        {"attachment_media_ids": []},
        {"attachment_media_ids": [one, new_id()]},
        {"text": "see"},
        {"type": Type.MESSAGE_TYPE_FILE},
        {"mentioned_user_ids": [gallery.bob.id]},
    ]

    async def hold(now: channel_pb2.Message) -> None:
        assert await send(gallery, **sent) == now  # type: ignore[arg-type]
        assert await send(gallery, **{**sent, "type": image}) == now  # type: ignore[arg-type]
        for other in others:
            await refused(send(gallery, **{**sent, **other}), *REUSED)

    await hold(message)
    edited = await edit(gallery, message.id, "look here")
    await hold(edited)
    # By now they may have been taken off the shelf.
    shelf.media.clear()
    await hold(edited)
    assert (await gallery.list()).cursor.seq == 1


async def test_files_over_connect(gallery: Room, shelf: TableShelf) -> None:
    mine, theirs = shelf.put(gallery.ann), shelf.put(gallery.bob)

    def one(client_id: str, text: str = "", **fields: Any) -> events.SendMessageCommand:
        return events.SendMessageCommand(
            channel_id=gallery.channel.id, client_id=client_id, text=text, **fields
        )

    results = await command(
        gallery,
        one("a", attachment_media_ids=[mine]),
        one("b", attachment_media_ids=[theirs]),
        one("c", attachment_media_ids=[mine], type=Type.MESSAGE_TYPE_VIDEO),
        one("d"),
        one("a", attachment_media_ids=[mine]),
        one("a", "other"),
        one("e", "plain"),
    )
    assert [result_of(result) for result in results] == [
        "message",
        NO_MEDIA[1],
        MISMATCH[1],
        EMPTY[1],
        "message",
        REUSED[1],
        "message",
    ]
    assert results[0].message == results[4].message
    assert [message.seq for message in (await gallery.list()).messages] == [2, 1]
    assert [result.error.field for result in results[1:4]] == [
        "attachment_media_ids",
        "type",
        "text",
    ]
