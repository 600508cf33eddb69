"""What streams are told of the reader's own memberships, live and after they were away."""

from tests.rpc.chat.groups import (
    ADMIN,
    MEMBER,
    Group,
    make_group,
    members_in,
    token_of,
    watching,
)


async def test_who_is_added_is_told_at_once(group: Group) -> None:
    """Before anything is said in the channel."""
    await group.send("before")
    await group.set_role(group.bob, ADMIN)
    async with watching(group.server, group.eve) as eve:
        await group.add(group.eve)
        await eve.until(lambda watch: watch.of_kind("member"))
        await group.send("after")
        assert await eve.messages(1) == [2]
    assert members_in(eve) == [(group.eve.id, MEMBER)]


async def test_who_is_in_a_new_group_is_told_at_once(group: Group) -> None:
    async with watching(group.server, group.ann, group.eve) as [ann, eve]:
        made = await make_group(group.server, group.ann, group.eve)
        for watch in (ann, eve):
            await watch.until(lambda watch: (group.eve.id, MEMBER) in members_in(watch))
            assert {event.channel_id for event in watch.events} == {made.id}


async def test_who_was_away_is_told_of_a_new_channel(group: Group) -> None:
    token = await token_of(group.server, group.eve)
    await group.send("before")
    await group.add(group.eve)
    async with watching(group.server, group.eve, resume_token=token) as eve:
        assert members_in(eve) == [(group.eve.id, MEMBER)]
        assert eve.seqs == []
    async with watching(group.server, group.eve, resume_token=eve.token) as eve:
        assert not eve.events


async def test_who_was_away_is_told_of_what_they_have_lost(group: Group) -> None:
    token = await token_of(group.server, group.bob)
    await group.send("one")
    await group.remove(group.bob)
    async with watching(group.server, group.bob, resume_token=token) as bob:
        assert [event.channel_id for event in bob.of_kind("ended")] == [group.id]
        assert len(bob.events) == 1
    async with watching(group.server, group.bob, resume_token=bob.token) as bob:
        assert not bob.events


async def test_who_was_away_while_they_went_and_came_again_misses_nothing(group: Group) -> None:
    token = await token_of(group.server, group.bob)
    await group.send("one")
    await group.remove(group.bob)
    await group.send("two")
    await group.add(group.bob)
    await group.send("three")
    async with watching(group.server, group.bob, resume_token=token) as bob:
        assert bob.seqs == [1, 2, 3]
        assert members_in(bob) == [(group.bob.id, MEMBER)]
