"""CreateChannel, UpdateChannel, DeleteChannel, MuteChannel: groups and what is done with them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from server.auth.models import AuditEvent, Role, User
from server.chat.models import Channel, Member
from server.chat.ports import Media
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.staff import member_of_staff
from tests.rpc.chat.groups import (
    ADMIN,
    MEMBER,
    Group,
    get_channel,
    make_group,
    mute,
    send,
    watching,
)
from tests.rpc.chat.scenes import Room, chat_of, in_unit, outcome_of
from tests.support.serve import Greenroom
from tests.support.statuses import failure_of, field_names, refused

GONE = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")
NO_USER = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_USER_NOT_FOUND")
FORBIDDEN = (StatusCode.PERMISSION_DENIED, "CHAT_ERROR_REASON_ROLE_FORBIDS")
NO_GROUP = (StatusCode.FAILED_PRECONDITION, "CHAT_ERROR_REASON_NOT_A_GROUP")
ARCHIVED = (StatusCode.FAILED_PRECONDITION, "CHAT_ERROR_REASON_CHANNEL_ARCHIVED")
NO_MEDIA = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_MEDIA_NOT_FOUND")
WRONG = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")


class Pictures:
    """Everything on this shelf is one person's."""

    def __init__(self, owner: str, **media: str) -> None:
        self._owner = owner
        self._media = {
            media_id: Media(media_id, kind, "a.png", "image/png", 1)
            for media_id, kind in media.items()
        }

    def ready(self, _unit: Unit, user_id: str, media_ids: Sequence[str]) -> Mapping[str, Media]:
        wanted = media_ids if user_id == self._owner else ()
        return {name: self._media[name] for name in wanted if name in self._media}


def put_on_shelf(server: Greenroom, owner: str, **media: str) -> None:
    """Gives the channel service a shelf with media."""
    [servicer] = [
        service.servicer
        for service in chat_of(server).services
        if service.descriptor.name == "ChannelService"
    ]
    servicer._shelf = Pictures(owner, **media)  # type: ignore[attr-defined]


async def test_a_group_is_made_with_its_maker_as_admin(group: Group) -> None:
    channel = group.channel
    assert channel.type == channel_pb2.CHANNEL_TYPE_GROUP
    assert (channel.title, channel.member_count, channel.own_role) == ("Crew", 3, ADMIN)
    assert list(channel.member_ids) == sorted([group.ann.id, group.bob.id, group.cid.id])
    assert (channel.unread_count, channel.last_seq, channel.blocked) == (0, 0, False)
    assert channel.etag and channel.HasField("create_time") and channel.HasField("update_time")
    assert not channel.HasField("archive_time") and not channel.HasField("last_message")
    bobs = await group.get(group.bob)
    assert bobs.own_role == MEMBER
    bobs.own_role = ADMIN
    assert bobs == channel


async def test_its_maker_may_be_named_and_may_be_alone(group: Group) -> None:
    alone = await make_group(group.server, group.ann, group.ann)
    assert list(alone.member_ids) == [group.ann.id] and alone.own_role == ADMIN


async def test_a_repeat_with_the_same_request_id_makes_no_other_group(group: Group) -> None:
    wish = {"request_id": new_id(), "title": "Once"}
    made = await asyncio.gather(
        *(make_group(group.server, group.ann, group.bob, **wish) for _ in range(8))
    )
    assert len({channel.id for channel in made}) == 1
    await refused(
        make_group(group.server, group.ann, group.cid, **wish),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_REQUEST_ID_REUSED",
    )
    made_in_all = await in_unit(
        group.server, lambda _unit: Channel.select().where(Channel.title == "Once").count()
    )
    assert made_in_all == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", " \t\n"),
        ("title", "x" * 101),
        ("title", "a\0b"),
        ("description", "x" * 1001),
        ("description", "\0"),
        ("avatar_media_id", "picture"),
        ("member_ids", ["me"]),
        ("member_ids", [new_id() for _ in range(101)]),
        ("request_id", "once"),
    ],
)
async def test_what_is_no_group_names_the_field(group: Group, field: str, value: Any) -> None:
    error = await refused(make_group(group.server, group.ann, **{field: value}), *WRONG)
    assert [name.partition("[")[0] for name in field_names(error)] == [field]


async def test_who_is_not_there_or_not_active_cannot_be_in_a_group(group: Group) -> None:
    absent = await refused(
        make_group(group.server, group.ann, group.bob, member_ids=[group.bob.id, new_id()]),
        *NO_USER,
    )
    assert field_names(absent) == ["member_ids"]
    await in_unit(
        group.server,
        lambda _unit: User.update(status="BANNED").where(User.id == group.eve.id).execute(),
    )
    banned = await refused(make_group(group.server, group.ann, group.eve), *NO_USER)
    assert outcome_of(banned) == outcome_of(absent)
    groups = await in_unit(group.server, lambda _unit: Channel.select().count())
    assert groups == 1, "a refused group leaves nothing"


async def test_the_picture_is_an_image_of_the_callers(group: Group) -> None:
    mine, film = new_id(), new_id()
    put_on_shelf(group.server, group.ann.id, **{mine: "IMAGE", film: "VIDEO"})
    made = await make_group(group.server, group.ann, avatar_media_id=mine)
    assert made.avatar_media_id == mine
    for media_id in (film, new_id()):
        error = await refused(
            make_group(group.server, group.ann, avatar_media_id=media_id), *NO_MEDIA
        )
        assert field_names(error) == ["avatar_media_id"]
    await refused(make_group(group.server, group.bob, avatar_media_id=mine), *NO_MEDIA)
    changed = await group.update(avatar_media_id=mine)
    assert changed.avatar_media_id == mine
    error = await refused(group.update(avatar_media_id=film), *NO_MEDIA)
    assert field_names(error) == ["channel.avatar_media_id"]
    assert (await group.update("avatar_media_id")).avatar_media_id == ""


async def test_an_admin_changes_title_and_description(group: Group) -> None:
    async with watching(group.server, group.bob) as watch:
        changed = await group.update(title="Team", description="What for")
        await watch.until(lambda watch: watch.of_kind("channel"))
    assert (changed.title, changed.description) == ("Team", "What for")
    assert changed.etag != group.channel.etag
    [event] = watch.of_kind("channel")
    assert (event.channel.title, event.channel.description) == ("Team", "What for")
    assert event.change == changed.last_change
    assert (await group.get(group.bob)).title == "Team"


async def test_only_the_masks_fields_change(group: Group) -> None:
    await group.update(title="Team", description="What for")
    changed = await group.update("description", title="Other", description="")
    assert (changed.title, changed.description) == ("Team", "")


async def test_what_changes_nothing_is_not_told(group: Group) -> None:
    before = await group.get()
    same = await group.update(title=before.title)
    assert same.etag == before.etag
    info = await in_unit(group.server, lambda _unit: Channel.get_by_id(group.id).info_change)
    assert info == 0


@pytest.mark.parametrize(
    ("paths", "values", "field"),
    [
        ((), {}, "update_mask"),
        (("type",), {}, "update_mask"),
        (("title",), {"title": "  "}, "channel.title"),
        (("title",), {"title": ""}, "channel.title"),
        (("title",), {"title": "x" * 101}, "channel.title"),
        (("title",), {"title": "\0"}, "channel.title"),
        (("description",), {"description": "x" * 1001}, "channel.description"),
    ],
)
async def test_a_wrong_update_names_the_field(
    group: Group, paths: tuple[str, ...], values: dict[str, str], field: str
) -> None:
    error = await failure_of(group.update(*paths, **values))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert field_names(error) == [field]


async def test_a_stale_etag_is_refused(group: Group) -> None:
    fresh = await group.update(title="Two", etag=group.channel.etag)
    await refused(
        group.update(title="Three", etag=group.channel.etag),
        StatusCode.ABORTED,
        "WIRE_ERROR_REASON_ETAG_MISMATCH",
    )
    assert (await group.get()).title == "Two"
    # What is said, and who comes, is no edit.
    await group.send()
    await group.add(group.eve)
    assert (await group.update(title="Three", etag=fresh.etag)).title == "Three"


async def test_of_sixteen_who_saw_the_same_one_wins(group: Group) -> None:
    etag = group.channel.etag
    outcomes = await asyncio.gather(
        *(group.update(title=f"Title {n}", etag=etag) for n in range(16)), return_exceptions=True
    )
    won = [one for one in outcomes if isinstance(one, channel_pb2.Channel)]
    lost = [one.code() for one in outcomes if isinstance(one, aio.AioRpcError)]
    assert len(won) == 1 and lost == [StatusCode.ABORTED] * 15


async def test_who_may_change_and_archive(group: Group) -> None:
    for change in (lambda by: group.update(title="Mine", by=by), group.archive):
        await refused(change(group.bob), *FORBIDDEN)
        await refused(change(group.eve), *GONE)
    assert (await group.get()).title == "Crew"


async def test_only_groups_are_changed_and_archived_by_their_members(room: Room) -> None:
    pair = Group(room.server, room.ann, room.bob, room.bob, room.bob, room.channel)
    await refused(pair.update(title="We two"), *NO_GROUP)
    await refused(pair.archive(), *NO_GROUP)


async def test_an_archived_group_can_be_read_only(group: Group) -> None:
    await group.send("last words")
    async with watching(group.server, group.bob) as watch:
        first = await group.archive()
        await watch.until(lambda watch: watch.of_kind("channel"))
    [event] = watch.of_kind("channel")
    assert event.channel.archive_time == first
    group.server.clock.advance(60)  # type: ignore[attr-defined]
    assert await group.archive() == first
    for call in (
        group.send(),
        group.add(group.eve),
        group.update(title="Late"),
        group.set_role(group.bob, ADMIN),
    ):
        await refused(call, *ARCHIVED)
    seen = await group.get(group.bob)
    assert seen.archive_time == first and seen.last_message.text == "last words"
    await group.remove(group.cid)
    await group.leave(group.bob)
    assert list(await group.roles()) == [group.ann.id]


@pytest.mark.parametrize("role", ["admin", "super_admin"])
async def test_staff_archive_any_channel_and_see_nothing_of_it(room: Room, role: str) -> None:
    staff = await member_of_staff(room.server, role, "Staff")
    foreign = Group(room.server, staff, room.bob, room.bob, room.bob, room.channel)
    assert (await foreign.archive()).seconds
    await refused(room.send(), *ARCHIVED)
    await refused(foreign.get(), *GONE)
    absent = Group(room.server, staff, staff, staff, staff, channel_pb2.Channel(id=new_id()))
    await refused(absent.archive(), *GONE)


async def test_other_staff_are_strangers(room: Room) -> None:
    staff = await member_of_staff(room.server, "agent", "Staff")
    foreign = Group(room.server, staff, room.bob, room.bob, room.bob, room.channel)
    await refused(foreign.archive(), *GONE)
    await room.send()


async def test_staff_without_the_permission_are_strangers(room: Room) -> None:
    await in_unit(
        room.server,
        lambda _unit: (
            Role.update(permissions=["auth.users.read"]).where(Role.name == "admin").execute()
        ),
    )
    staff = await member_of_staff(room.server, "admin", "Staff")
    foreign = Group(room.server, staff, room.bob, room.bob, room.bob, room.channel)
    await refused(foreign.archive(), *GONE)
    await room.send()


async def test_an_archiving_leaves_its_trace(group: Group) -> None:
    await refused(group.archive(group.bob), *FORBIDDEN)
    await group.archive()

    def read(_unit: Unit) -> list[tuple[str, str]]:
        rows = AuditEvent.select().where(AuditEvent.action == "channel.archive")
        return [(row.actor_id, row.resource) for row in rows]

    assert await in_unit(group.server, read) == [(group.ann.id, f"chatChannels/{group.id}")]


async def test_a_member_mutes_for_themselves(group: Group) -> None:
    clock: Any = group.server.clock
    told = await group.mute(group.bob, timedelta(hours=8))
    muted = await group.get(group.bob)
    assert muted.mute_until == told.mute_until
    assert muted.mute_until.ToDatetime(tzinfo=clock.now().tzinfo) == clock.now() + timedelta(
        hours=8
    )
    assert not (await group.get(group.ann)).HasField("mute_until")
    assert not (await group.mute(group.bob, timedelta())).HasField("mute_until")
    assert not (await group.get(group.bob)).HasField("mute_until")
    await group.mute(group.bob, timedelta(microseconds=1))
    await mute(group.server, group.bob, group.id, None)
    assert not (await group.get(group.bob)).HasField("mute_until")


@pytest.mark.parametrize("seconds", [-1, 315_576_001, 315_576_000_000])
async def test_wrong_durations_are_refused(group: Group, seconds: int) -> None:
    error = await refused(
        mute(group.server, group.ann, group.id, Duration(seconds=seconds)), *WRONG
    )
    assert field_names(error) == ["duration"]
    await refused(mute(group.server, group.eve, group.id, Duration(seconds=60)), *GONE)


async def test_direct_channels_are_muted_too(room: Room) -> None:
    told = await mute(room.server, room.ann, room.channel.id, Duration(seconds=60))
    assert (await get_channel(room.server, room.ann, room.channel.id)).mute_until == told.mute_until


async def test_a_group_that_is_archived_while_it_is_written_to(group: Group) -> None:
    """Every message that was accepted is there, and none after the archiving."""
    sends = [asyncio.create_task(group.send(str(n), by=group.bob)) for n in range(40)]
    await asyncio.sleep(0)
    await group.archive()
    outcomes = await asyncio.gather(*sends, return_exceptions=True)
    stored = [one.seq for one in outcomes if isinstance(one, channel_pb2.Message)]
    refusals = {one.code() for one in outcomes if isinstance(one, aio.AioRpcError)}
    assert refusals <= {StatusCode.FAILED_PRECONDITION}
    assert sorted(stored) == list(range(1, len(stored) + 1))
    assert (await group.get()).last_seq == len(stored)
    await refused(send(group.server, group.cid, group.id), *ARCHIVED)


async def test_a_request_that_was_cut_off_left_nothing(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group whose members cannot be stored is not there either."""
    insert: Callable[..., Any] = Member.insert_many

    def broken(*_args: object, **_values: object) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(Member, "insert_many", broken)
    wish = {"request_id": new_id(), "title": "Half"}
    error = await failure_of(make_group(group.server, group.ann, group.bob, **wish))
    assert error.code() is StatusCode.INTERNAL
    monkeypatch.setattr(Member, "insert_many", insert)
    halves = await in_unit(
        group.server, lambda _unit: Channel.select().where(Channel.title == "Half").count()
    )
    assert halves == 0
    assert (await make_group(group.server, group.ann, group.bob, **wish)).title == "Half"


async def test_nobody_is_let_in_without_credentials(server: Greenroom) -> None:
    for call in (
        server.channels.CreateChannel(channels.CreateChannelRequest(title="x")),
        server.channels.ListChannels(channels.ListChannelsRequest()),
        server.channels.DeleteChannel(channels.DeleteChannelRequest(channel_id=new_id())),
    ):
        await refused(call, StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
