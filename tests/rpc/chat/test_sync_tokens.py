"""The tokens of SyncChannels: whose they are, what they hold, and what they are no good for."""

from datetime import timedelta

from grpc import StatusCode

from greenroom.chat.v1 import sync_service_pb2 as sync
from server.chat.models import Channel, Member
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.offline import Offline, synced, tokens_of
from tests.rpc.chat.scenes import Room, in_unit
from tests.rpc.chat.talk import pass_time
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, field_names, refused

INVALID = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_SYNC_TOKEN_INVALID")


async def token_refused(server: Greenroom, person: Person, token: str) -> None:
    call = server.sync.SyncChannels(
        sync.SyncChannelsRequest(sync_token=token), metadata=person.metadata
    )
    assert field_names(await refused(call, *INVALID)) == ["sync_token"]


async def test_tokens_of_others_and_no_tokens_at_all(room: Room) -> None:
    device = await synced(room)
    good = device.token
    for token in (
        "x",
        good[:-2],
        good + "A",
        good.replace(".", "-"),
        "\u00e4.\u00f6",
        "a." * 9_000,
    ):
        await token_refused(room.server, room.bob, token)
    await token_refused(room.server, room.ann, good)
    huge = sync.SyncChannelsRequest(sync_token="a" * 20_481)
    error = await failure_of(room.server.sync.SyncChannels(huge, metadata=room.bob.metadata))
    assert (error.code(), field_names(error)) == (StatusCode.INVALID_ARGUMENT, ["sync_token"])


async def test_a_token_authorizes_nothing(room: Room) -> None:
    """Channels in a token that are not the caller's, or are none at all, are said to be left."""
    await room.send_many(2)
    eve = await room.server.person("Eve")
    tokens = tokens_of(room)
    named = [(room.channel.id, 1, 0, 0), (new_id(), 1, 0, 0)]
    reply = await room.server.sync.SyncChannels(
        sync.SyncChannelsRequest(sync_token=tokens.make(eve.id, named, follows=True)),
        metadata=eve.metadata,
    )
    assert not reply.channels
    assert list(reply.left_channel_ids) == [channel_id for channel_id, *_ in named]


async def test_a_token_with_very_many_channels(room: Room) -> None:
    await room.send_many(2)
    named = [(new_id(), 1, 5, 5) for _ in range(450)]
    device = Offline(room.server, room.bob)
    token = tokens_of(room).make(room.bob.id, named, follows=True)
    reply = await room.server.sync.SyncChannels(
        sync.SyncChannelsRequest(sync_token=token), metadata=room.bob.metadata
    )
    assert len(reply.left_channel_ids) == 450
    assert reply.channels[0].reset
    device.token = reply.next_sync_token
    assert not (await device.raw()).left_channel_ids


async def test_a_clock_that_was_put_back_loses_no_mark(room: Room) -> None:
    await room.send_many(3)
    device = await synced(room)
    later = room.server.clock.now() + timedelta(days=1)
    positions = [(room.channel.id, 1, 3, 0)]
    made = int(later.timestamp())
    device.token = tokens_of(room).make(room.bob.id, positions, follows=True, made=made)
    await room.mark_read(2, room.ann)
    await device.sync()
    assert device.kept[room.channel.id].reads[room.ann.id] == 2


async def test_more_channels_than_a_token_holds(room: Room) -> None:
    """The newest are kept in step; those that fall behind are not said to be left."""

    def make(unit: Unit) -> None:
        for _ in range(500):
            channel = Channel.create(type="GROUP", title="x")
            Member.insert(
                channel_id=channel.id,
                user_id=room.bob.id,
                create_time=unit.now,
                update_time=unit.now,
            ).execute()

    device = await synced(room)
    pass_time(room, 1)
    await in_unit(room.server, make)
    await device.sync()
    assert not device.left
    assert len(device.kept) == 501
    pass_time(room, 1)
    await room.send("again")
    await device.sync()
    assert not device.left
    assert [message.text for message in device.kept[room.channel.id].messages.values()] == ["again"]


async def test_nobody_else_is_told(room: Room) -> None:
    await room.send_many(2)
    eve = Offline(room.server, await room.server.person("Eve"))
    [reply] = await eve.sync()
    assert (list(reply.channels), list(reply.left_channel_ids)) == ([], [])
