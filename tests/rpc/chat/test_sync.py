"""SyncChannels: what a client has missed."""

import asyncio
from datetime import timedelta

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import read_service_pb2 as reads
from greenroom.chat.v1 import sync_service_pb2 as sync
from server.chat.models import Channel, Member, Message
from server.chat.usecases import sync as usecase
from server.core.unit import Unit
from tests.rpc.chat.groups import Group, group_on, token_of
from tests.rpc.chat.offline import Offline, present, synced, tokens_of
from tests.rpc.chat.scenes import Room, direct, in_unit
from tests.rpc.chat.talk import delete, edit, pass_time, react
from tests.support.serve import Greenroom
from tests.support.statuses import failure_of, field_names


async def test_without_a_token_all_channels_come_with_their_newest_messages(room: Room) -> None:
    await room.send_many(25)
    await room.mark_read(3, room.ann)
    cid = await room.server.person("Cid")
    empty = await direct(room.server, room.bob, cid.id)
    device = Offline(room.server, room.bob)
    [reply] = await device.sync()
    news = {entry.channel_id: entry for entry in reply.channels}
    assert set(news) == {room.channel.id, empty.id}
    full = news[room.channel.id]
    assert [message.seq for message in full.messages] == list(range(6, 26))
    assert [(mark.user_id, mark.seq) for mark in full.reads] == [(room.ann.id, 3)]
    assert full.channel == await present(room.server, room.bob, room.channel.id)
    assert full.channel.unread_count == 25
    assert (full.cursor.epoch, full.cursor.seq, full.cursor.change) == (1, 25, 0)
    assert all(entry.reset for entry in reply.channels)
    await device.compare()


async def test_the_number_of_newest_messages_can_be_chosen(room: Room) -> None:
    await room.send_many(5)
    device = Offline(room.server, room.bob)
    reply = await device.page(2)
    assert [message.seq for message in reply.channels[0].messages] == [4, 5]
    for wrong in (-1, 101):
        call = room.server.sync.SyncChannels(
            sync.SyncChannelsRequest(page_size=wrong), metadata=room.bob.metadata
        )
        assert field_names(await failure_of(call)) == ["page_size"]


async def test_nothing_new_is_nothing_told(room: Room) -> None:
    await room.send_many(3)
    device = await synced(room)
    pass_time(room, 60)
    await device.sync()
    pass_time(room, 60)
    [reply] = await device.sync()
    assert (list(reply.channels), list(reply.left_channel_ids), reply.has_more) == ([], [], False)


async def test_new_messages_come_once_and_without_a_gap(room: Room) -> None:
    await room.send_many(3)
    device = await synced(room)
    await room.send_many(30)
    [reply] = await device.sync()
    assert [message.seq for message in reply.channels[0].messages] == list(range(4, 34))
    assert not reply.channels[0].reset
    await device.compare()


async def test_edits_deletions_and_reactions_come_as_they_are_now(room: Room) -> None:
    sent = await room.send_many(4)
    device = await synced(room)
    await edit(room, sent[0].id, "other")
    await edit(room, sent[0].id, "another")
    await delete(room, sent[1].id)
    await react(room, sent[2].id, by=room.bob)
    await room.send("new")
    await edit(room, (await room.send("newer")).id, "newest")
    [reply] = await device.sync()
    [news] = reply.channels
    assert [message.seq for message in news.changed] == [1, 2, 3]
    assert [message.text for message in news.messages] == ["new", "newest"]
    await device.compare()
    [reply] = await device.sync()
    assert not any(entry.messages or entry.changed for entry in reply.channels)


async def test_marks_come(room: Room) -> None:
    await room.send_many(4)
    pass_time(room, 60)
    device = await synced(room)
    pass_time(room, 60)
    await device.sync()
    pass_time(room, 60)
    await room.mark_read(2, room.ann)
    [reply] = await device.sync()
    [news] = reply.channels
    assert not news.HasField("channel"), "nothing about it is new for Bob"
    assert [(mark.user_id, mark.seq) for mark in news.reads] == [(room.ann.id, 2)]
    assert [(mark.user_id, mark.seq) for mark in news.deliveries] == [(room.ann.id, 2)]
    await room.mark_read(4, room.bob)
    [reply] = await device.sync()
    assert reply.channels[0].channel.last_read_seq == 4
    assert reply.channels[0].channel.unread_count == 0


async def test_what_one_has_marked_as_unread_is_for_oneself_alone(room: Room) -> None:
    await room.send_many(4)
    mine, theirs = await synced(room), await synced(room, room.ann)
    await room.server.reads.MarkUnread(
        reads.MarkUnreadRequest(channel_id=room.channel.id, seq=2), metadata=room.bob.metadata
    )
    [own], [other] = await mine.sync(), await theirs.sync()
    assert own.channels[0].channel.unread_from_seq == 2
    assert [(m.user_id, m.unread_from_seq) for m in own.channels[0].reads] == [(room.bob.id, 2)]
    assert all(not mark.unread_from_seq for news in other.channels for mark in news.reads)


async def test_groups_that_one_joins_and_leaves(server: Greenroom) -> None:
    group: Group = await group_on(server)
    device = Offline(server, group.eve)
    await device.sync()
    assert not device.kept
    await group.send("before")
    await group.add(group.eve)
    await device.sync()
    await device.compare()
    assert list(device.kept[group.id].messages) == [1]
    await group.remove(group.eve)
    [reply] = await device.sync()
    assert list(reply.left_channel_ids) == [group.id]
    [reply] = await device.sync()
    assert not reply.left_channel_ids


async def test_members_and_titles_that_change(server: Greenroom) -> None:
    group = await group_on(server)
    device = Offline(server, group.bob)
    await device.sync()
    await group.add(group.eve)
    await group.leave(group.cid)
    await group.update(title="Others")
    [reply] = await device.sync()
    members = {member.user_id: member.role for member in reply.channels[0].members}
    assert members == {
        group.eve.id: channel_pb2.MEMBER_ROLE_MEMBER,
        group.cid.id: channel_pb2.MEMBER_ROLE_UNSPECIFIED,
    }
    assert reply.channels[0].channel.title == "Others"
    await device.compare()


async def test_a_channel_that_was_muted_elsewhere(server: Greenroom) -> None:
    group = await group_on(server)
    device = Offline(server, group.bob)
    await device.sync()
    await group.mute(group.bob, timedelta(hours=1))
    await device.sync()
    await device.compare()


async def test_a_new_epoch_begins_anew(room: Room) -> None:
    await room.send_many(30)
    device = await synced(room)
    await in_unit(room.server, lambda _unit: Channel.update(epoch=2).execute())
    [reply] = await device.sync()
    [news] = reply.channels
    assert news.reset
    assert [message.seq for message in news.messages] == list(range(11, 31))
    assert news.cursor.epoch == 2
    await device.compare()


async def test_history_that_is_gone_begins_anew(room: Room) -> None:
    await room.send_many(3)
    device = await synced(room)
    await room.send_many(7)

    def prune(_unit: Unit) -> None:
        Message.delete().where(Message.seq <= 8).execute()
        Channel.update(history_start_seq=8).execute()

    await in_unit(room.server, prune)
    [reply] = await device.sync()
    assert reply.channels[0].reset
    assert [message.seq for message in reply.channels[0].messages] == [9, 10]
    await device.compare()


async def test_a_position_beyond_the_end_begins_anew(room: Room) -> None:
    await room.send_many(3)
    ahead = [(room.channel.id, 1, 7, 0)]
    device = Offline(room.server, room.bob)
    device.token = tokens_of(room).make(room.bob.id, ahead, follows=True)
    [reply] = await device.sync()
    assert reply.channels[0].reset
    await device.compare()


async def test_too_many_changes_begin_anew(room: Room) -> None:
    await room.send_many(3)
    device = await synced(room)
    many = usecase.MOST_CHANGES + 1
    await in_unit(room.server, lambda _unit: Channel.update(last_change=many).execute())
    [reply] = await device.sync()
    assert reply.channels[0].reset
    await in_unit(room.server, lambda _unit: Channel.update(last_change=2 * many - 1).execute())
    [reply] = await device.sync()
    assert not reply.channels[0].reset


async def test_a_long_absence_comes_in_pieces(room: Room) -> None:
    first = await room.send_many(3)
    device = await synced(room)
    await room.fill(1_100)
    await edit(room, first[0].id, "other")
    replies = await device.sync()
    assert [reply.has_more for reply in replies] == [True, False]
    assert [message.seq for message in replies[0].channels[0].changed] == [1]
    await device.compare()


async def test_pieces_are_bounded_by_their_size(room: Room) -> None:
    await room.send()
    device = await synced(room)
    await asyncio.gather(*(room.send("\U0001f600" * 4_000) for _ in range(100)))
    replies = await device.sync()
    assert len(replies) == 3
    assert max(reply.ByteSize() for reply in replies) < 1024 * 1024
    await device.compare()


async def test_what_happens_between_the_pieces_is_in_the_next_one(room: Room) -> None:
    first = await room.send_many(3)
    pass_time(room, 60)
    device = await synced(room)
    await room.mark_read(1, room.ann)
    await room.fill(1_050)
    pass_time(room, 60)
    assert (await device.page()).has_more
    pass_time(room, 60)
    late = await edit(room, first[0].id, "edited between")
    await delete(room, device.kept[room.channel.id].messages[700].id)
    await room.send("new between")
    await device.sync()
    assert device.kept[room.channel.id].messages[1].change == late.change
    assert device.kept[room.channel.id].reads[room.ann.id] == 1
    await device.compare()


async def test_many_channels_come_in_pieces(room: Room) -> None:
    count = usecase.REPLY_CHANNELS + 20

    def make(unit: Unit) -> None:
        for number in range(count):
            channel = Channel.create(type="GROUP", title=str(number))
            Member.insert(
                channel_id=channel.id,
                user_id=room.bob.id,
                create_time=unit.now,
                update_time=unit.now,
            ).execute()

    await in_unit(room.server, make)
    device = Offline(room.server, room.bob)
    replies = await device.sync()
    assert len(replies) == 2
    assert len(device.kept) == count + 1
    assert sum(len(reply.channels) for reply in replies if reply.has_more) <= count


async def test_a_stream_goes_on_where_a_sync_ended_and_a_sync_where_a_stream_ended(
    room: Room,
) -> None:
    sent = await room.send_many(3)
    device = await synced(room)
    await room.send_many(2)
    await edit(room, sent[0].id, "other")
    watch = await device.watch()
    assert watch.seqs == [4, 5]
    assert [event.seq or event.changed.seq for event in watch.of_kind("changed")] == [1]
    await room.send()
    await delete(room, sent[1].id)
    [reply] = await device.sync()
    assert [message.seq for message in reply.channels[0].messages] == [6]
    assert [message.seq for message in reply.channels[0].changed] == [2]
    await device.compare()
    watch = await device.watch()
    assert (watch.seqs, watch.of_kind("changed")) == ([], [])


async def test_the_token_of_a_stream_that_was_live_will_do(room: Room) -> None:
    await room.send_many(2)
    device = Offline(room.server, room.bob)
    device.token = await token_of(room.server, room.bob)
    await room.send_many(2)
    reply = await device.raw()
    assert [message.seq for message in reply.channels[0].messages] == [3, 4]
