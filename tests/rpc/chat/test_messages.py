"""SendMessage and ListMessages."""

import asyncio
from collections.abc import Callable
from typing import Any

from grpc import StatusCode

from server.chat.models import Channel, Message
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, direct, in_unit
from tests.support.statuses import field_names, refused, retry_after_of

REUSED = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_CLIENT_ID_REUSED")
BAD_TOKEN = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN")


async def test_a_message_comes_back_as_it_is_listed(room: Room) -> None:
    sent = await room.send("grüße \U0001f600 \u0001", client_id="my own")
    assert (sent.seq, sent.client_id, sent.sender_id) == (1, "my own", room.ann.id)
    assert sent.channel_id == room.channel.id
    assert sent.HasField("create_time")
    page = await room.list(by=room.bob)
    assert list(page.messages) == [sent]
    assert not page.next_page_token
    assert page.cursor == room.at(1, epoch=1, change=0)


async def test_a_retry_gets_the_message_of_the_first(room: Room) -> None:
    first = await room.send("once", client_id="x")
    await room.send("between")
    assert await room.send("once", client_id="x") == first
    assert len((await room.list()).messages) == 2


async def test_32_sends_at_once_with_one_client_id_make_one_message(room: Room) -> None:
    sent = await asyncio.gather(*(room.send("once", client_id="x") for _ in range(32)))
    assert len({message.SerializeToString(deterministic=True) for message in sent}) == 1
    assert [message.seq for message in (await room.list()).messages] == [1]


async def test_a_client_id_belongs_to_its_message(room: Room) -> None:
    await room.send("one", client_id="x")
    error = await refused(room.send("two", client_id="x"), *REUSED)
    assert field_names(error) == ["client_id"]
    cid = await room.server.person("Cid")
    other = Room(room.server, room.ann, cid, await direct(room.server, room.ann, cid.id))
    await refused(other.send("one", client_id="x"), *REUSED)
    assert (await room.send("mine", by=room.bob, client_id="x")).seq == 2


async def test_one_client_id_with_two_texts_at_once_makes_one_message(room: Room) -> None:
    sent = await asyncio.gather(
        *(room.send(str(number % 2), client_id="x") for number in range(16)),
        return_exceptions=True,
    )
    failures = [one for one in sent if isinstance(one, Exception)]
    assert len(failures) == 8
    assert len((await room.list()).messages) == 1


async def test_parallel_senders_leave_no_gap(room: Room) -> None:
    people = (room.ann, room.bob)
    sent = await asyncio.gather(
        *(room.send(str(number), by=people[number % 2]) for number in range(200))
    )
    assert sorted(message.seq for message in sent) == list(range(1, 201))
    stored = await in_unit(
        room.server,
        lambda _unit: [
            row.seq for row in Message.select().order_by(Message.seq) if row.text.isdigit()
        ],
    )
    assert stored == list(range(1, 201))
    head = await in_unit(room.server, lambda _unit: Channel.get().last_seq)
    assert head == 200


async def test_many_channels_are_numbered_each_by_itself(room: Room) -> None:
    people = [await room.server.person(name) for name in ("Cid", "Dan", "Eve")]
    rooms = [room] + [
        Room(room.server, room.ann, one, await direct(room.server, room.ann, one.id))
        for one in people
    ]
    await asyncio.gather(*(rooms[number % 4].send(str(number)) for number in range(120)))
    for one in rooms:
        seqs = [message.seq for message in (await one.list(after_seq=0)).messages]
        assert seqs == list(range(1, 31))


async def test_texts_are_bounded_and_storable(room: Room) -> None:
    await room.send("x" * 4000)
    for text, reason in (
        ("", "CHAT_ERROR_REASON_MESSAGE_EMPTY"),
        ("x" * 4001, "WIRE_ERROR_REASON_INVALID_FIELD"),
    ):
        error = await refused(room.send(text), StatusCode.INVALID_ARGUMENT, reason)
        assert field_names(error) == ["text"]
    for text, client_id, field in (("a\0b", "", "text"), ("fine", "a\0b", "client_id")):
        error = await refused(
            room.send(text, client_id=client_id),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )
        assert field_names(error) == [field]


async def test_chat_is_limited_to_30_messages_in_10_seconds(
    make_room: Callable[..., Any],
) -> None:
    room = await make_room(limited=True)
    for number in range(30):
        await room.send(str(number))
    error = await refused(
        room.send(), StatusCode.RESOURCE_EXHAUSTED, "WIRE_ERROR_REASON_RATE_LIMITED"
    )
    assert retry_after_of(error)
    await room.send(by=room.bob)


async def test_history_in_pages_newest_first(room: Room) -> None:
    await room.send_many(7)
    seqs, token = [], ""
    while True:
        page = await room.list(page_size=3, page_token=token)
        seqs.append([message.seq for message in page.messages])
        token = page.next_page_token
        if not token:
            break
        await room.send("meanwhile")
    assert seqs == [[7, 6, 5], [4, 3, 2], [1]]


async def test_history_in_pages_oldest_first_goes_on_to_what_is_new(room: Room) -> None:
    await room.send_many(5)
    page = await room.list(after_seq=1, page_size=3)
    assert [message.seq for message in page.messages] == [2, 3, 4]
    await room.send("new")
    page = await room.list(after_seq=1, page_size=3, page_token=page.next_page_token)
    assert [message.seq for message in page.messages] == [5, 6]
    assert page.cursor.seq == 6


async def test_history_before_a_message(room: Room) -> None:
    await room.send_many(5)
    page = await room.list(before_seq=4, page_size=2)
    assert [message.seq for message in page.messages] == [3, 2]
    assert [message.seq for message in (await room.list(before_seq=99)).messages] == [5, 4, 3, 2, 1]
    assert not (await room.list(before_seq=1)).messages
    assert not (await room.list(after_seq=99)).messages


async def test_before_and_after_exclude_each_other(room: Room) -> None:
    await refused(
        room.list(before_seq=3, after_seq=1),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_INVALID_FIELD",
    )


async def test_a_page_is_50_messages_unless_said_otherwise(room: Room) -> None:
    await asyncio.gather(*(room.send(str(number)) for number in range(60)))
    assert len((await room.list()).messages) == 50
    assert len((await room.list(page_size=60)).messages) == 60


async def test_a_page_token_belongs_to_its_list(room: Room) -> None:
    await room.send_many(4)
    token = (await room.list(page_size=2)).next_page_token
    cid = await room.server.person("Cid")
    other = Room(room.server, room.ann, cid, await direct(room.server, room.ann, cid.id))
    await other.send()
    for call in (
        room.list(page_token=token, by=room.bob),
        room.list(page_token=token, before_seq=3),
        room.list(page_token=token, after_seq=0),
        other.list(page_token=token),
        room.list(page_token=token[:-2] + "AA"),
        room.list(page_token=new_id()),
    ):
        error = await refused(call, *BAD_TOKEN)
        assert field_names(error) == ["page_token"]
