"""Several who change one group at the same time, beside people who write to it."""

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.chat.v1 import channel_pb2
from server.chat.models import Channel, Departure, Member, Message
from server.core.unit import Unit
from tests.rpc.chat.groups import ADMIN, Group, doors_of, make_group, watching
from tests.rpc.chat.scenes import in_unit
from tests.support.serve import Person
from tests.support.statuses import reason_of

SURPRISING = {
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
    StatusCode.ABORTED,
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
}


async def outcomes_of(*calls: Awaitable[Any]) -> list[str]:
    """How calls end that are made at once: reasons of refusals, and nothing for what was done."""
    found = []
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(outcome, aio.AioRpcError):
            assert outcome.code() not in SURPRISING, outcome.details()
            found.append(reason_of(outcome).removeprefix("CHAT_ERROR_REASON_"))
        else:
            assert not isinstance(outcome, BaseException), outcome
            found.append("")
    return found


async def check_whole(group: Group) -> dict[str, str]:
    """Holds the rows of a group against what must always be so; who is in it, as what."""

    def read(_unit: Unit) -> dict[str, str]:
        channel = Channel.get_by_id(group.id)
        members = list(Member.select().where(Member.channel_id == group.id))
        gone = list(Departure.select().where(Departure.channel_id == group.id))
        roles = {row.user_id: row.role for row in members}
        assert not set(roles) & {row.user_id for row in gone}
        assert not roles or "ADMIN" in roles.values()
        assert bool(roles) or channel.archived_at is not None
        numbers = [row.change for row in (*members, *gone)]
        assert len(numbers) == len(set(numbers)) and max(numbers) <= channel.last_change
        seqs = [row.seq for row in Message.select().where(Message.channel_id == group.id)]
        assert sorted(seqs) == list(range(1, channel.last_seq + 1))
        return roles

    return await in_unit(group.server, read)


@pytest.mark.parametrize("round_", range(3))
async def test_two_admins_leave_at_once(group: Group, round_: int) -> None:
    await group.set_role(group.bob, ADMIN)
    assert await outcomes_of(group.leave(group.ann), group.leave(group.bob)) == ["", ""]
    assert await check_whole(group) == {group.cid.id: "ADMIN"}


async def test_everybody_leaves_at_once(group: Group) -> None:
    await outcomes_of(*(group.leave(person) for person in (group.ann, group.bob, group.cid)))
    assert await check_whole(group) == {}


async def test_one_leaves_often_at_once(group: Group) -> None:
    found = await outcomes_of(*(group.leave(group.bob) for _ in range(6)))
    assert sorted(found) == ["", *["CHANNEL_NOT_FOUND"] * 5]


async def test_two_admins_add_the_same_users(group: Group) -> None:
    await group.set_role(group.bob, ADMIN)
    fay = await group.server.person("Fay")
    async with watching(group.server, group.cid, group.eve) as [cid, eve]:
        found = await outcomes_of(
            *(
                group.add(*people, by=by)
                for by in (group.ann, group.bob)
                for people in ((group.eve, fay), (fay, group.eve))
            )
        )
        assert found == [""] * 4
        await group.send()
        assert await eve.messages(1) == [1] and await cid.messages(1) == [1]
        await cid.until(lambda watch: len(watch.of_kind("member")) == 2)
    assert len(await check_whole(group)) == 5


async def test_a_member_leaves_who_is_being_removed(group: Group) -> None:
    async with watching(group.server, group.bob) as bob:
        found = await outcomes_of(group.remove(group.bob), group.leave(group.bob))
        await bob.until(lambda watch: watch.of_kind("ended"))
        assert len(bob.of_kind("ended")) == 1
    assert sorted(found) in (["", "MEMBER_NOT_FOUND"], ["", "CHANNEL_NOT_FOUND"])
    assert set(await check_whole(group)) == {group.ann.id, group.cid.id}


async def test_two_admins_lower_and_remove_each_other(group: Group) -> None:
    member = channel_pb2.MEMBER_ROLE_MEMBER
    await group.set_role(group.bob, ADMIN)
    found = await outcomes_of(
        group.set_role(group.bob, member), group.set_role(group.ann, member, by=group.bob)
    )
    assert sorted(found) == ["", "ROLE_FORBIDS"]
    first, second = (group.ann, group.bob) if found[0] == "" else (group.bob, group.ann)
    await group.set_role(second, ADMIN, by=first)
    found = await outcomes_of(group.remove(second, by=first), group.remove(first, by=second))
    assert sorted(found) == ["", "CHANNEL_NOT_FOUND"]
    assert len(await check_whole(group)) == 2


async def test_members_are_added_while_the_group_is_archived(group: Group) -> None:
    people = [await group.server.person(f"P{n}") for n in range(4)]
    found = await outcomes_of(*(group.add(person) for person in people), group.archive())
    assert set(found) <= {"", "CHANNEL_ARCHIVED"}
    assert len(await check_whole(group)) == 3 + found[:4].count("")


async def test_the_lane_and_all_of_it_at_once(group: Group) -> None:
    """Sends to two groups, many changes to both, words of the system: nobody waits in a circle."""
    server, chance = group.server, random.Random(7)
    people = [group.bob, group.cid, group.eve]
    channel = await make_group(server, group.ann, *people)
    other = Group(server, group.ann, group.bob, group.cid, group.eve, channel)
    doors = doors_of(server)

    def speak(unit: Unit) -> None:
        for channel_id in sorted((group.id, other.id)):
            doors.post_system(unit, channel_id, "A word")

    async def change(where: Group, who: Person) -> None:
        for _ in range(5):
            await outcomes_of(
                chance.choice(
                    [
                        lambda: where.add(who),
                        lambda: where.remove(who),
                        lambda: where.leave(who),
                        lambda: where.update(title=str(chance.random())),
                        lambda: where.set_role(who, ADMIN),
                        lambda: server.running.parts.database.run(speak, write=True),
                    ]
                )()
            )

    async def talk(where: Group) -> None:
        for number in range(15):
            assert await outcomes_of(where.send(str(number))) == [""]

    async with watching(server, group.ann) as watch:
        await asyncio.gather(
            *(change(where, who) for where in (group, other) for who in people),
            *(talk(where) for where in (group, other) for _ in range(3)),
        )
        for where in (group, other):
            await check_whole(where)
            last = (await where.get()).last_seq
            assert last >= 45

            def seqs(watch: Any, channel_id: str = where.id) -> list[int]:
                events = watch.of_kind("message")
                return [event.seq for event in events if event.channel_id == channel_id]

            await watch.until(lambda watch, last=last, seqs=seqs: len(seqs(watch)) >= last)
            assert seqs(watch) == list(range(1, last + 1))
    assert server.running.parts.database.retries == 0, "no deadlock was made good by another try"
