"""Members who are named in a message."""

from grpc import StatusCode

from greenroom.chat.v1 import event_service_pb2 as events
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room
from tests.rpc.chat.talk import command, get, group_of, leave, result_of, send
from tests.support.statuses import failure_of, refused

NO_MEMBER = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_MENTION_NOT_MEMBER")
REUSED = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_CLIENT_ID_REUSED")
NO_CHANNEL = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


async def test_members_are_mentioned(room: Room) -> None:
    cid = await room.server.person("Cid")
    group = await group_of(room, cid)
    mentioned = [cid.id, room.bob.id, room.ann.id]
    async with group.watch(by=cid, cursors=[group.at(0)]) as watch:
        await watch.caught_up()
        message = await send(group, "look", mentioned_user_ids=mentioned)
        await watch.messages(1)
    assert list(message.mentioned_user_ids) == mentioned
    assert watch.of_kind("message")[0].message == message
    assert (await get(group, message.id, by=cid)).message == message
    await leave(group, cid)
    assert list((await get(group, message.id)).message.mentioned_user_ids) == mentioned


async def test_nobody_else_is(room: Room) -> None:
    cid = await room.server.person("Cid")
    for mentioned in ([cid.id], [room.bob.id, cid.id], [new_id()], [room.bob.id.upper()]):
        await refused(send(room, mentioned_user_ids=mentioned), *NO_MEMBER)
    for wrong in ([room.bob.id, room.bob.id], ["bob"], [new_id() for _ in range(51)]):
        error = await failure_of(send(room, mentioned_user_ids=wrong))
        assert (error.code(), "mentioned_user_ids" in str(error.trailing_metadata())) == (
            StatusCode.INVALID_ARGUMENT,
            True,
        )
    await refused(send(room, by=cid, mentioned_user_ids=[cid.id]), *NO_CHANNEL)
    assert (await room.list()).cursor.seq == 0


async def test_a_retry_mentions_the_same(room: Room) -> None:
    both = [room.ann.id, room.bob.id]
    message = await send(room, client_id="x", mentioned_user_ids=both)
    await leave(room, room.bob)
    assert await send(room, client_id="x", mentioned_user_ids=both) == message
    for other in ([], both[:1], both[::-1]):
        await refused(send(room, client_id="x", mentioned_user_ids=other), *REUSED)
    plain = await send(room, client_id="y")
    await refused(send(room, client_id="y", mentioned_user_ids=both[:1]), *REUSED)
    assert await send(room, client_id="y") == plain


async def test_mentions_over_connect(room: Room) -> None:
    def one(client_id: str, *mentioned: str) -> events.SendMessageCommand:
        return events.SendMessageCommand(
            channel_id=room.channel.id,
            client_id=client_id,
            text="look",
            mentioned_user_ids=mentioned,
        )

    results = await command(
        room, one("a", room.bob.id), one("b", new_id()), one("a"), one("a", room.bob.id)
    )
    outcomes = [result_of(result) for result in results]
    assert outcomes == ["message", NO_MEMBER[1], REUSED[1], "message"]
    assert results[0].message == results[3].message
    assert list(results[0].message.mentioned_user_ids) == [room.bob.id]
