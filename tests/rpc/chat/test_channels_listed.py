"""GetChannel and ListChannels: the caller's view of a channel, and of all of theirs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from server.chat.models import Message
from server.chat.usecases import channel_views
from server.core.db import database
from server.core.ids import new_id
from tests.rpc.chat.groups import (
    ADMIN,
    MEMBER,
    get_channel,
    group_on,
    list_channels,
    make_group,
    send,
)
from tests.rpc.chat.scenes import Room, direct, in_unit, outcome_of
from tests.rpc.chat.test_groups import GONE
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, field_names, refused

GROUP = channel_pb2.CHANNEL_TYPE_GROUP


async def names_of(server: Greenroom, by: Person, **query: Any) -> list[str]:
    """Titles of the channels on a page."""
    return [channel.title for channel in (await list_channels(server, by, **query)).channels]


async def test_a_channel_tells_how_far_its_reader_has_come(room: Room) -> None:
    await room.send_many(3)
    await room.send(by=room.bob)
    await room.mark_read(1, room.bob)
    bobs = await get_channel(room.server, room.bob, room.channel.id)
    anns = await get_channel(room.server, room.ann, room.channel.id)
    assert (bobs.last_seq, bobs.last_read_seq, bobs.unread_count) == (4, 1, 2)
    assert (anns.last_seq, anns.last_read_seq, anns.unread_count) == (4, 0, 1)
    assert bobs.last_message.seq == 4 and bobs.last_message.sender_id == room.bob.id
    assert (bobs.own_role, bobs.member_count) == (MEMBER, 2)
    listed = (await list_channels(room.server, room.bob)).channels
    assert list(listed) == [bobs]


async def test_the_last_message_is_one_that_is_there(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.send_many(4)

    def delete(unit: Any) -> None:
        Message.update(delete_time=unit.now, special=True, text="").where(Message.seq > 2).execute()

    await in_unit(room.server, delete)
    seen = await get_channel(room.server, room.bob, room.channel.id)
    assert (seen.last_message.seq, seen.unread_count) == (2, 2)
    monkeypatch.setattr(channel_views, "NEWEST", 2)
    seen = await get_channel(room.server, room.bob, room.channel.id)
    assert not seen.HasField("last_message")


async def test_the_newest_activity_comes_first(server: Greenroom) -> None:
    ann, bob = await server.person("Ann"), await server.person("Bob")
    clock: Any = server.clock
    made = []
    for title in ("a", "b", "c"):
        made.append(await make_group(server, ann, bob, title=title))
        clock.advance(1)
    await make_group(server, bob, title="not hers")
    assert await names_of(server, ann) == ["c", "b", "a"]
    await send(server, bob, made[0].id)
    assert await names_of(server, ann) == ["a", "c", "b"]


async def test_pages_have_every_channel_once(server: Greenroom) -> None:
    """Also of those whose newest activity was at the same instant."""
    ann = await server.person("Ann")
    clock: Any = server.clock
    for number in range(7):
        await make_group(server, ann, title=str(number))
        clock.advance(number % 2)
    found: list[str] = []
    token, pages = "", 0
    while pages == 0 or token:
        reply = await list_channels(server, ann, page_size=3, page_token=token)
        found += [channel.title for channel in reply.channels]
        token, pages = reply.next_page_token, pages + 1
    assert pages == 3 and sorted(found) == [str(number) for number in range(7)]


async def test_a_token_is_for_its_list(server: Greenroom) -> None:
    ann, bob = await server.person("Ann"), await server.person("Bob")
    for _ in range(2):
        await make_group(server, ann, bob)
    token = (await list_channels(server, ann, page_size=1)).next_page_token
    for by, query in ((bob, {}), (ann, {"archived": True}), (ann, {"type": GROUP})):
        await refused(
            list_channels(server, by, page_token=token, **query),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN",
        )


async def test_lists_are_of_a_type_and_archived_or_not(server: Greenroom) -> None:
    ann, bob = await server.person("Ann"), await server.person("Bob")
    await direct(server, ann, bob.id)
    await make_group(server, ann, title="open")
    closed = await make_group(server, ann, title="closed")
    await server.channels.DeleteChannel(
        channels.DeleteChannelRequest(channel_id=closed.id), metadata=ann.metadata
    )
    assert sorted(await names_of(server, ann)) == ["", "open"]
    assert await names_of(server, ann, type=GROUP) == ["open"]
    assert await names_of(server, ann, archived=True) == ["closed"]
    assert await names_of(server, ann, type=channel_pb2.CHANNEL_TYPE_DIRECT) == [""]
    assert await names_of(server, ann, type=channel_pb2.CHANNEL_TYPE_TICKET) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 101}, "page_size"),
        ({"type": 9}, "type"),
        ({"page_token": "x" * 1025}, "page_token"),
        ({"page_token": "x"}, "page_token"),
    ],
)
async def test_wrong_queries_name_the_field(
    server: Greenroom, query: dict[str, Any], field: str
) -> None:
    ann = await server.person("Ann")
    error = await failure_of(list_channels(server, ann, **query))
    assert error.code() is StatusCode.INVALID_ARGUMENT and field_names(error) == [field]


async def test_what_is_not_ones_own_is_not_there(server: Greenroom) -> None:
    group = await group_on(server)
    foreign = await refused(group.get(group.eve), *GONE)
    absent = await refused(get_channel(server, group.eve, new_id()), *GONE)
    assert outcome_of(foreign) == outcome_of(absent)
    assert not (await list_channels(server, group.eve)).channels
    error = await refused(
        get_channel(server, group.eve, "x"),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_INVALID_FIELD",
    )
    assert field_names(error) == ["channel_id"]


async def test_a_hundred_members_are_shown_and_all_are_counted(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_views, "SHOWN_MEMBERS", 2)
    group = await group_on(server)
    other = await make_group(server, group.ann, group.eve)
    seen = {one.id: one for one in (await list_channels(server, group.ann)).channels}
    everybody = sorted([group.ann.id, group.bob.id, group.cid.id])
    assert list(seen[group.id].member_ids) == everybody[:2]
    assert (seen[group.id].member_count, seen[other.id].member_count) == (3, 2)
    assert list(seen[other.id].member_ids) == sorted([group.ann.id, group.eve.id])
    assert {one.own_role for one in seen.values()} == {ADMIN}


@asynccontextmanager
async def counted() -> AsyncIterator[list[str]]:
    """The statements about the chat that run in the block; jobs have theirs beside them."""
    engine, statements = database.obj, []
    execute = engine.execute_sql

    def counting(text: str, *more: Any) -> Any:
        if "chat_" in text:
            statements.append(text)
        return execute(text, *more)

    engine.execute_sql = counting
    try:
        yield statements
    finally:
        engine.execute_sql = execute


async def test_a_list_costs_as_many_statements_as_one_channel(server: Greenroom) -> None:
    ann, bob = await server.person("Ann"), await server.person("Bob")

    async def cost(count: int) -> int:
        async with counted() as statements:
            reply = await list_channels(server, ann)
        assert len(reply.channels) == count
        return len(statements)

    made = [await make_group(server, ann, bob)]
    await send(server, bob, made[0].id)
    one = await cost(1)
    made += await asyncio.gather(*(make_group(server, ann, bob) for _ in range(19)))
    await asyncio.gather(*(send(server, bob, channel.id) for channel in made))
    assert await cost(20) == one <= 8
