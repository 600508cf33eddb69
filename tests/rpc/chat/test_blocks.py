"""Blocks: those who do not want to hear from each other."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from grpc import StatusCode

from server.chat.models import Channel
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.groups import (
    doors_of,
    get_channel,
    group_on,
    list_channels,
    make_group,
    watching,
)
from tests.rpc.chat.scenes import Room, chat_of, direct, in_unit, outcome_of
from tests.rpc.chat.test_groups import NO_USER
from tests.support.serve import Greenroom, Person
from tests.support.statuses import refused

BLOCKED = (StatusCode.FAILED_PRECONDITION, "CHAT_ERROR_REASON_BLOCKED")


class BlockList:
    """Who has blocked whom, as another module would keep it."""

    def __init__(self) -> None:
        self.pairs: set[tuple[str, str]] = set()

    def between(self, _unit: Unit, user_id: str, other_ids: Iterable[str]) -> set[str]:
        return {other for other in other_ids if {(user_id, other), (other, user_id)} & self.pairs}


def block_list_of(server: Greenroom) -> BlockList:
    """Fills the port of the running chat."""
    [people] = {
        id(service.servicer._people): service.servicer._people  # type: ignore[attr-defined]
        for service in chat_of(server).services
        if hasattr(service.servicer, "_people")
    }.values()
    blocks = BlockList()
    object.__setattr__(people, "blocks", blocks)
    return blocks


async def block(server: Greenroom, by: Person, other: Person, *, blocked: bool = True) -> None:
    """What the module of profiles does, in one unit."""
    doors = doors_of(server)

    def work(unit: Unit) -> None:
        doors.set_blocked(unit, by.id, other.id, blocked=blocked)

    await server.running.parts.database.run(work, write=True)


async def test_nobody_sends_where_one_has_blocked_the_other(room: Room) -> None:
    sent = await room.send("before", client_id="before")
    async with watching(room.server, room.ann, room.bob) as [ann, bob]:
        await block(room.server, room.bob, room.ann)
        for watch in (ann, bob):
            await watch.until(lambda watch: watch.of_kind("channel"))
            assert watch.of_kind("channel")[0].channel.blocked
        for by in (room.ann, room.bob):
            await refused(room.send(by=by), *BLOCKED)
            seen = await get_channel(room.server, by, room.channel.id)
            assert seen.blocked and seen.last_message.text == "before"
        assert await room.send("before", client_id="before") == sent, "a late retry is no new send"
        await block(room.server, room.bob, room.ann, blocked=False)
        await room.send("after", by=room.bob)
        await ann.messages(1)
        await ann.until(lambda watch: len(watch.of_kind("channel")) == 2)
    assert [event.channel.blocked for event in ann.of_kind("channel")] == [True, False]


async def test_who_is_blocked_is_not_seen_to_type(room: Room) -> None:
    clock: Any = room.server.clock
    async with watching(room.server, room.bob) as bob:
        await block(room.server, room.bob, room.ann)
        await room.type(room.ann)
        await block(room.server, room.bob, room.ann, blocked=False)
        clock.advance(3)
        await room.type(room.ann)
        await bob.until(lambda watch: watch.of_kind("typing"))
        await room.send()
        await bob.messages(1)
    assert len(bob.of_kind("typing")) == 1


async def test_a_repeat_changes_nothing_and_nothing_is_bumped(room: Room) -> None:
    clock: Any = room.server.clock
    clock.advance(5)
    await block(room.server, room.ann, room.bob)
    first = await in_unit(room.server, lambda _unit: Channel.get_by_id(room.channel.id))
    await block(room.server, room.bob, room.ann)
    second = await in_unit(room.server, lambda _unit: Channel.get_by_id(room.channel.id))
    assert first.info_change == second.info_change == 1
    assert first.update_time == first.create_time, "a block is no news in the list"


async def test_a_resumed_stream_learns_of_a_block(room: Room) -> None:
    async with watching(room.server, room.ann) as watch:
        token = watch.token
    await block(room.server, room.bob, room.ann)
    async with watching(room.server, room.ann, resume_token=token) as watch:
        assert [event.channel.blocked for event in watch.of_kind("channel")] == [True]


async def test_a_block_of_strangers_leaves_no_channel(server: Greenroom) -> None:
    ann, bob = await server.person("Ann"), await server.person("Bob")
    await block(server, ann, bob)
    assert await in_unit(server, lambda _unit: Channel.select().count()) == 0
    assert not (await list_channels(server, bob)).channels
    await block(server, ann, bob, blocked=False)
    assert (await direct(server, bob, ann.id)).blocked is False


async def test_who_was_blocked_looks_at_somebody_who_is_not_there(server: Greenroom) -> None:
    group = await group_on(server)
    ann, eve = group.ann, group.eve
    block_list_of(server).pairs.add((eve.id, ann.id))
    for by, other in ((ann, eve), (eve, ann)):
        blocked = await refused(direct(server, by, other.id), *NO_USER)
        absent = await refused(direct(server, by, new_id()), *NO_USER)
        assert outcome_of(blocked) == outcome_of(absent)
        blocked = await refused(make_group(server, by, other), *NO_USER)
        absent = await refused(make_group(server, by, member_ids=[new_id()]), *NO_USER)
        assert outcome_of(blocked) == outcome_of(absent)
    blocked = await refused(group.add(eve), *NO_USER)
    absent = await refused(group.add_ids(new_id()), *NO_USER)
    assert outcome_of(blocked) == outcome_of(absent)
    assert await in_unit(server, lambda _unit: Channel.select().count()) == 1
    await group.set_role(group.bob, group.channel.own_role)
    await group.add(eve, by=group.bob)


async def test_the_channel_of_before_is_still_found(room: Room) -> None:
    await room.send("before")
    block_list_of(room.server).pairs.add((room.bob.id, room.ann.id))
    await block(room.server, room.bob, room.ann)
    for by, other in ((room.ann, room.bob), (room.bob, room.ann)):
        found = await direct(room.server, by, other.id)
        assert (found.id, found.blocked) == (room.channel.id, True)


@pytest.mark.parametrize("round_", range(5))
async def test_a_block_and_a_first_word_at_once(server: Greenroom, round_: int) -> None:
    """Whichever comes first, there is no open channel of the two afterwards."""
    ann, bob = await server.person("Ann"), await server.person("Bob")
    blocks, doors = block_list_of(server), doors_of(server)

    def work(unit: Unit) -> None:
        doors.set_blocked(unit, ann.id, bob.id, blocked=True)
        # Stands for the row of the unit: seen by others from its commit on, a moment early.
        blocks.pairs.add((ann.id, bob.id))

    run = server.running.parts.database.run
    calls = [direct(server, by, other.id) for by, other in ((ann, bob), (bob, ann)) * 3]
    calls.insert(round_, run(work, write=True))
    await asyncio.gather(*calls, return_exceptions=True)
    rows = await in_unit(server, lambda _unit: list(Channel.select()))
    assert all(row.blocked for row in rows) and len(rows) <= 1
