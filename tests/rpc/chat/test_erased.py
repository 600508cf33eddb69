"""Members whose accounts are erased: others hear of it as of any departure, and groups keep an admin."""

import pytest

from server.auth.usecases.user_status import erase
from server.chat.models import Channel
from tests.rpc.chat.groups import (
    ADMIN,
    MEMBER,
    Group,
    make_group,
    members_in,
    watching,
)
from tests.rpc.chat.offline import Offline
from tests.rpc.chat.scenes import direct, in_unit
from tests.support.serve import Greenroom, Person

GONE = 0


async def _erase(server: Greenroom, person: Person) -> None:
    """What the purge does once the grace is over."""
    await in_unit(server, lambda unit: erase(unit, person.id))


async def test_a_group_is_told_and_has_an_admin_again(group: Group) -> None:
    away = Offline(group.server, group.cid)
    await away.sync()
    async with watching(group.server, group.bob) as bob:
        await _erase(group.server, group.ann)
        await bob.until(lambda watch: len(members_in(watch)) == 2)
        assert members_in(bob) == [(group.ann.id, GONE), (group.bob.id, ADMIN)]
    assert await group.roles(group.bob) == {group.bob.id: ADMIN, group.cid.id: MEMBER}
    await away.sync()
    assert away.kept[group.id].members == {group.ann.id: GONE, group.bob.id: ADMIN}
    await group.add(group.eve, by=group.bob)


async def test_a_group_without_anybody_is_closed(group: Group) -> None:
    alone = await make_group(group.server, group.ann)
    await _erase(group.server, group.ann)
    left = await in_unit(group.server, lambda _unit: Channel.get_by_id(alone.id))
    assert left.archived_at is not None


async def test_the_other_of_a_conversation_is_told(group: Group) -> None:
    conversation = await direct(group.server, group.ann, group.eve.id)
    away = Offline(group.server, group.eve)
    await away.sync()
    async with watching(group.server, group.eve) as eve:
        await _erase(group.server, group.ann)
        await eve.until(lambda watch: members_in(watch))
        assert members_in(eve) == [(group.ann.id, GONE)]
    await away.sync()
    assert away.kept[conversation.id].members == {group.ann.id: GONE}


async def test_nothing_has_left_where_the_account_stays(group: Group) -> None:
    """The departures are those of the unit that erases."""

    class Broken(Exception):
        pass

    def fails(unit: object) -> None:
        erase(unit, group.ann.id)  # type: ignore[arg-type]
        raise Broken

    with pytest.raises(Broken):
        await in_unit(group.server, fails)
    assert (await group.roles())[group.ann.id] == ADMIN
