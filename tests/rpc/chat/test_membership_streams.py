"""What streams see of memberships: the own ones begin and end, those of others are told."""

import asyncio

import pytest

from server.chat import relay
from server.chat.events import MemberJoined, MemberLeft
from tests.rpc.chat.groups import (
    ADMIN,
    MEMBER,
    Group,
    make_group,
    members_in,
    token_of,
    watching,
)
from tests.rpc.chat.scenes import chat_of


@pytest.fixture(autouse=True)
def unhealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What streams see here they see at once: nobody looks into the database again after a while."""
    monkeypatch.setattr(relay, "CHECK_SECONDS", 3600.0)


async def test_who_is_added_has_the_channel_at_once(group: Group) -> None:
    await group.send("before")
    async with watching(group.server, group.bob, group.eve) as [bob, eve]:
        await group.add(group.eve)
        await bob.until(lambda watch: watch.of_kind("member"))
        await group.send("after")
        assert await eve.messages(1) == [2]
        assert await bob.messages(1) == [2]
    assert members_in(bob) == [(group.eve.id, MEMBER)]


async def test_who_is_removed_loses_it_at_once(group: Group) -> None:
    async with watching(group.server, group.ann, group.bob) as [ann, bob]:
        await group.remove(group.bob)
        await bob.until(lambda watch: watch.of_kind("ended"))
        await ann.until(lambda watch: watch.of_kind("member"))
        await group.send("among us")
        await ann.messages(1)
        # The stream goes on with the other channels.
        other = await group_on_of(group)
        await other.send("hello", by=group.bob)
        await bob.messages(1)
    assert members_in(ann) == [(group.bob.id, 0)]
    ended = bob.of_kind("ended")
    assert [event.channel_id for event in ended] == [group.id]
    assert {event.channel_id for event in bob.of_kind("message")} == {other.id}


async def group_on_of(group: Group) -> Group:
    """Another group of Ann and Bob."""
    channel = await make_group(group.server, group.ann, group.bob)
    return Group(group.server, group.ann, group.bob, group.cid, group.eve, channel)


async def test_who_leaves_loses_it_on_all_streams(group: Group) -> None:
    async with watching(group.server, group.bob, group.bob, group.cid) as [one, two, cid]:
        await group.leave(group.bob)
        for watch in (one, two):
            await watch.until(lambda watch: watch.of_kind("ended"))
            assert len(watch.of_kind("ended")) == 1
        await cid.until(lambda watch: watch.of_kind("member"))
    assert members_in(cid) == [(group.bob.id, 0)]


async def test_roles_are_told(group: Group) -> None:
    async with watching(group.server, group.bob, group.cid) as [bob, cid]:
        await group.set_role(group.bob, ADMIN)
        for watch in (bob, cid):
            await watch.until(lambda watch: watch.of_kind("member"))
        await group.leave(group.ann)
        await group.leave(group.bob)
        await cid.until(lambda watch: (group.cid.id, ADMIN) in members_in(watch))
    assert members_in(bob)[0] == (group.bob.id, ADMIN)
    assert members_in(cid) == [
        (group.bob.id, ADMIN),
        (group.ann.id, 0),
        (group.bob.id, 0),
        (group.cid.id, ADMIN),
    ]


async def test_who_was_away_is_told_each_thing_once(group: Group) -> None:
    token = await token_of(group.server, group.cid)
    fay = await group.server.person("Fay")
    await group.add(group.eve, fay)
    await group.remove(fay)
    await group.remove(group.bob)
    await group.add(group.bob)
    await group.set_role(group.bob, ADMIN)
    await group.update(title="One")
    await group.update(title="Two")
    async with watching(group.server, group.cid, resume_token=token) as cid:
        told = members_in(cid)
    assert sorted(told) == sorted([(group.eve.id, MEMBER), (fay.id, 0), (group.bob.id, ADMIN)])
    assert [event.channel.title for event in cid.of_kind("channel")] == ["Two"]
    async with watching(group.server, group.cid, resume_token=cid.token) as cid:
        assert not cid.of_kind("member") and not cid.of_kind("channel")


async def test_many_who_come_at_once_are_all_told(group: Group) -> None:
    """More than are read at once."""
    people = [await group.server.person(f"P{n}") for n in range(20)]
    token = await token_of(group.server, group.cid)
    async with watching(group.server, group.bob) as bob:
        await group.add(*people)
        await bob.until(lambda watch: len(watch.of_kind("member")) == len(people))
    async with watching(group.server, group.cid, resume_token=token) as cid:
        told = members_in(cid)
    assert sorted(told) == sorted((person.id, MEMBER) for person in people)


async def test_who_leaves_and_comes_again_gets_what_is_new(group: Group) -> None:
    async with watching(group.server, group.bob) as bob:
        await group.send("one")
        await bob.messages(1)
        await group.leave(group.bob)
        await bob.until(lambda watch: watch.of_kind("ended"))
        await group.send("two")
        await group.add(group.bob)
        await group.send("three")
        assert await bob.messages(2) == [1, 3]


async def test_lost_news_of_memberships_heal(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process did it, and the bus lost the word."""
    chat = chat_of(group.server)
    show = chat.relay._committed
    lost: list[object] = []

    def losing(event: object) -> None:
        if isinstance(event, MemberJoined | MemberLeft):
            lost.append(event)
        else:
            show(event)  # type: ignore[arg-type]

    monkeypatch.setattr(chat.relay, "_committed", losing)
    async with watching(group.server, group.bob, group.eve) as [bob, eve]:
        await group.add(group.eve)
        await group.remove(group.bob)
        await chat.hub.check_all()
        await bob.until(lambda watch: watch.of_kind("ended"))
        await group.send("hello")
        assert await eve.messages(1) == [1]
    assert len(lost) == 2


async def test_a_stream_that_follows_is_told_of_what_it_watches_only(group: Group) -> None:
    """A stream of named channels neither takes up others nor is ended by them."""
    other = await group_on_of(group)
    async with watching(group.server, group.bob, channel_ids=[other.id]) as bob:
        await group.leave(group.bob)
        await group.add(group.bob)
        await group.send("hello")
        await other.send("hello")
        await bob.messages(1)
    assert {event.channel_id for event in bob.events} == {other.id}


async def test_comings_and_goings_beside_sends(group: Group) -> None:
    """Whoever is a member all the time misses nothing, however others come and go."""
    async with watching(group.server, group.cid) as cid:

        async def move() -> None:
            for _ in range(4):
                await group.add(group.eve)
                await group.send("from Eve", by=group.eve)
                await group.leave(group.eve)

        async def talk() -> None:
            for number in range(12):
                await group.send(str(number), by=group.bob)

        await asyncio.gather(move(), talk(), talk())
        assert await cid.messages(28) == list(range(1, 29))
        await cid.until(lambda watch: members_in(watch)[-1:] == [(group.eve.id, 0)])
