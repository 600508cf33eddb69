"""AddMember, UpdateMember, RemoveMember, ListMembers, LeaveChannel."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from greenroom.chat.v1 import member_service_pb2 as members
from server.auth.models import User
from server.chat.models import Channel, Departure, Member, ReadMark
from server.chat.usecases import members as usecases
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.groups import ADMIN, MEMBER, Group, make_group
from tests.rpc.chat.scenes import Room, in_unit, outcome_of
from tests.rpc.chat.test_groups import (
    FORBIDDEN,
    GONE,
    NO_GROUP,
    NO_USER,
    WRONG,
)
from tests.support.serve import Person
from tests.support.statuses import failure_of, field_names, refused

NO_MEMBER = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_MEMBER_NOT_FOUND")
OWN = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_OWN_MEMBERSHIP")
FULL = (StatusCode.FAILED_PRECONDITION, "CHAT_ERROR_REASON_TOO_MANY_MEMBERS")


async def rows_of(group: Group) -> tuple[set[str], set[str]]:
    """Members and departed, as the database has them."""

    def read(_unit: Unit) -> tuple[set[str], set[str]]:
        found = [
            {row.user_id for row in table.select().where(table.channel_id == group.id)}
            for table in (Member, Departure)
        ]
        return found[0], found[1]

    return await in_unit(group.server, read)


async def test_an_admin_adds_members(group: Group) -> None:
    fay = await group.server.person("Fay")
    await group.send("before")
    added = await group.add(group.eve, group.bob, fay)
    assert [(member.user_id, member.role) for member in added] == [
        (group.eve.id, MEMBER),
        (group.bob.id, MEMBER),
        (fay.id, MEMBER),
    ]
    assert all(member.etag and member.HasField("join_time") for member in added)
    seen = await group.get(group.eve)
    assert (seen.member_count, seen.own_role, seen.unread_count) == (5, MEMBER, 0)
    assert seen.last_message.text == "before", "the history is there to be read"
    await group.send("hello", by=group.eve)


async def test_adding_again_changes_nothing(group: Group) -> None:
    await group.set_role(group.bob, ADMIN)
    [first] = await group.add(group.bob)
    assert first.role == ADMIN
    before = (await group.get()).last_change
    await group.add(group.bob, group.cid)
    assert await group.add(group.bob) == [first]
    numbers = await in_unit(
        group.server, lambda _unit: max(row.change for row in Member.in_channel(group.id))
    )
    assert numbers <= before


@pytest.mark.parametrize("ids", [[], ["me"], [new_id()] * 2, [new_id() for _ in range(101)]])
async def test_wrong_ids_name_the_field(group: Group, ids: list[str]) -> None:
    error = await refused(group.add_ids(*ids), *WRONG)
    assert [name.partition("[")[0] for name in field_names(error)] == ["user_ids"]


async def test_who_cannot_be_added(group: Group) -> None:
    absent = await refused(group.add_ids(group.eve.id, new_id()), *NO_USER)
    assert field_names(absent) == ["user_ids"]
    await in_unit(
        group.server,
        lambda _unit: User.update(status="SUSPENDED").where(User.id == group.eve.id).execute(),
    )
    suspended = await refused(group.add(group.eve), *NO_USER)
    assert outcome_of(suspended) == outcome_of(absent)
    assert await rows_of(group) == ({group.ann.id, group.bob.id, group.cid.id}, set())


async def test_a_group_takes_so_many(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usecases, "GROUP_MEMBERS", 4)
    fay = await group.server.person("Fay")
    await refused(group.add(group.eve, fay), *FULL)
    outcomes = await asyncio.gather(group.add(group.eve), group.add(fay), return_exceptions=True)
    assert sorted(isinstance(one, aio.AioRpcError) for one in outcomes) == [False, True]
    assert (await group.get()).member_count == 4
    await group.add(group.bob)


CALLS: dict[str, Callable[[Group, Person], Awaitable[object]]] = {
    "AddMember": lambda group, by: group.add(group.eve, by=by),
    "UpdateMember": lambda group, by: group.set_role(group.cid, ADMIN, by=by),
    "RemoveMember": lambda group, by: group.remove(group.cid, by=by),
}


@pytest.mark.parametrize("name", CALLS)
async def test_only_admins_change_the_members(group: Group, name: str) -> None:
    await refused(CALLS[name](group, group.bob), *FORBIDDEN)
    foreign = await refused(CALLS[name](group, group.eve), *GONE)
    group.channel.id = new_id()
    absent = await refused(CALLS[name](group, group.eve), *GONE)
    assert outcome_of(foreign) == outcome_of(absent)


@pytest.mark.parametrize("name", [*CALLS, "LeaveChannel"])
async def test_only_groups_have_members_that_change(room: Room, name: str) -> None:
    eve = await room.server.person("Eve")
    pair = Group(room.server, room.ann, room.bob, room.bob, eve, room.channel)
    if name == "LeaveChannel":
        await refused(pair.leave(room.ann), *NO_GROUP)
        await refused(pair.leave(eve), *GONE)
    else:
        await refused(CALLS[name](pair, room.ann), *NO_GROUP)
    assert await rows_of(pair) == ({room.ann.id, room.bob.id}, set())


async def test_a_removed_member_finds_nothing_any_more(group: Group) -> None:
    await group.send()
    await group.remove(group.bob)
    for call in (group.get(group.bob), group.send(by=group.bob), group.roles(group.bob)):
        await refused(call, *GONE)
    assert (await group.get()).member_count == 2
    await refused(group.remove(group.bob), *NO_MEMBER)
    await refused(group.remove(group.eve), *NO_MEMBER)
    assert await rows_of(group) == ({group.ann.id, group.cid.id}, {group.bob.id})


async def test_nobody_removes_or_raises_themselves(group: Group) -> None:
    assert field_names(await refused(group.remove(group.ann), *OWN)) == ["user_id"]
    error = await refused(group.set_role(group.ann, MEMBER), *OWN)
    assert field_names(error) == ["member.user_id"]
    await refused(group.set_role(group.bob, ADMIN, by=group.bob), *FORBIDDEN)


async def test_roles_are_given_and_taken(group: Group) -> None:
    before = (await group.add(group.bob))[0]
    raised = await group.set_role(group.bob, ADMIN, etag=before.etag)
    assert raised.role == ADMIN and raised.etag != before.etag
    assert raised.join_time == before.join_time
    await group.update(title="By Bob", by=group.bob)
    await refused(
        group.set_role(group.bob, MEMBER, etag=before.etag),
        StatusCode.ABORTED,
        "WIRE_ERROR_REASON_ETAG_MISMATCH",
    )
    lowered = await group.set_role(group.ann, MEMBER, by=group.bob)
    assert lowered.role == MEMBER
    await refused(group.update(title="By Ann"), *FORBIDDEN)
    await refused(group.set_role(group.eve, MEMBER, by=group.bob), *NO_MEMBER)


@pytest.mark.parametrize(
    ("role", "paths", "field"),
    [
        (ADMIN, (), "update_mask"),
        (ADMIN, ("user_id",), "update_mask"),
        (channel_pb2.MEMBER_ROLE_UNSPECIFIED, ("role",), "member.role"),
        (7, ("role",), "member.role"),
    ],
)
async def test_a_wrong_update_names_the_field(
    group: Group, role: Any, paths: tuple[str, ...], field: str
) -> None:
    error = await failure_of(group.set_role(group.bob, role, paths=paths))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert field_names(error) == [field]


async def test_members_are_listed_page_by_page(group: Group) -> None:
    clock: Any = group.server.clock
    clock.advance(1)
    await group.add(group.eve)
    pages: list[members.ListMembersResponse] = []
    token = ""
    while not pages or token:
        reply = await group.server.members.ListMembers(
            members.ListMembersRequest(channel_id=group.id, page_size=1, page_token=token),
            metadata=group.bob.metadata,
        )
        pages.append(reply)
        token = reply.next_page_token
    found = [member for page in pages for member in page.members]
    assert len(pages) == 4 and all(len(page.members) == 1 for page in pages)
    first = sorted([group.ann.id, group.bob.id, group.cid.id])
    assert [member.user_id for member in found] == [*first, group.eve.id]
    assert [member.role == ADMIN for member in found] == [
        member.user_id == group.ann.id for member in found
    ]
    assert found[3].join_time.seconds - found[0].join_time.seconds == 1


async def test_a_page_token_is_for_its_caller_and_channel(group: Group) -> None:
    other = await make_group(group.server, group.ann, group.bob)
    ask = group.server.members.ListMembers
    request = members.ListMembersRequest(channel_id=group.id, page_size=1)
    token = (await ask(request, metadata=group.ann.metadata)).next_page_token
    for channel_id, by in ((group.id, group.bob), (other.id, group.ann)):
        await refused(
            ask(
                members.ListMembersRequest(channel_id=channel_id, page_token=token),
                metadata=by.metadata,
            ),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN",
        )


async def test_strangers_see_no_members(group: Group) -> None:
    foreign = await refused(group.roles(group.eve), *GONE)
    group.channel.id = new_id()
    absent = await refused(group.roles(group.eve), *GONE)
    assert outcome_of(foreign) == outcome_of(absent)
    await refused(
        group.server.members.ListMembers(members.ListMembersRequest(channel_id=group.id)),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_MISSING",
    )


async def test_who_is_banned_or_deleted_is_still_listed(group: Group) -> None:
    def end(_unit: Unit) -> None:
        User.update(status="BANNED").where(User.id == group.bob.id).execute()
        User.update(status="DELETED").where(User.id == group.cid.id).execute()

    await in_unit(group.server, end)
    assert set(await group.roles()) == {group.ann.id, group.bob.id, group.cid.id}
    await group.set_role(group.bob, ADMIN)
    await group.remove(group.cid)


async def test_a_member_leaves_and_comes_again(group: Group) -> None:
    await group.send()
    await group.server.channels.MarkRead(
        channels.MarkReadRequest(channel_id=group.id, seq=1), metadata=group.bob.metadata
    )
    await group.leave(group.bob)
    await refused(group.leave(group.bob), *GONE)
    await refused(group.get(group.bob), *GONE)
    assert await rows_of(group) == ({group.ann.id, group.cid.id}, {group.bob.id})
    marks = await in_unit(
        group.server,
        lambda _unit: ReadMark.select().where(ReadMark.user_id == group.bob.id).count(),
    )
    assert marks == 0
    await group.send("while away")
    await group.add(group.bob)
    assert await rows_of(group) == ({group.ann.id, group.bob.id, group.cid.id}, set())
    back = await group.get(group.bob)
    assert (back.unread_count, back.own_role, back.last_read_seq) == (0, MEMBER, 0)
    await group.send("welcome back")
    assert (await group.get(group.bob)).unread_count == 1


async def test_who_has_been_in_for_longest_becomes_admin(group: Group) -> None:
    clock: Any = group.server.clock
    clock.advance(1)
    await group.remove(group.bob)
    await group.add(group.eve)
    clock.advance(1)
    await group.add(group.bob)
    await group.leave(group.ann)
    assert await group.roles(group.cid) == {
        group.cid.id: ADMIN,
        group.eve.id: MEMBER,
        group.bob.id: MEMBER,
    }
    await group.leave(group.cid)
    assert (await group.roles(group.eve))[group.eve.id] == ADMIN


async def test_the_heir_is_somebody_who_can_act(group: Group) -> None:
    clock: Any = group.server.clock
    clock.advance(1)
    await group.add(group.eve)
    await in_unit(
        group.server,
        lambda _unit: (
            User.update(status="BANNED").where(User.id.in_([group.bob.id, group.cid.id])).execute()
        ),
    )
    await group.leave(group.ann)
    assert (await group.roles(group.eve))[group.eve.id] == ADMIN


async def test_with_another_admin_nobody_is_raised(group: Group) -> None:
    await group.set_role(group.cid, ADMIN)
    await group.leave(group.ann)
    assert await group.roles(group.bob) == {group.bob.id: MEMBER, group.cid.id: ADMIN}


async def test_the_last_one_out_closes_the_group(group: Group) -> None:
    for person in (group.bob, group.cid, group.ann):
        await group.leave(person)
    channel = await in_unit(group.server, lambda _unit: Channel.get_by_id(group.id))
    assert channel.archived_at is not None
    assert channel.info_change == channel.last_change
    assert await rows_of(group) == (set(), {group.ann.id, group.bob.id, group.cid.id})


async def test_every_change_has_a_number_of_its_own(group: Group) -> None:
    """Streams read changes a few at a time: two under one number might be parted, and one be lost."""
    people = [await group.server.person(f"P{n}") for n in range(5)]
    await group.add(*people)
    await group.remove(people[0])
    await group.leave(group.ann)

    def numbers(_unit: Unit) -> list[int]:
        return sorted(
            row.change
            for table in (Member, Departure)
            for row in table.select().where(table.channel_id == group.id)
        )

    found = await in_unit(group.server, numbers)
    assert len(found) == len(set(found)) == 8
    assert found[-1] == (await group.get(people[1])).last_change
