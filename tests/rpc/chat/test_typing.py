"""Typing signs: where they are shown and where not."""

from typing import Any

import pytest
from grpc import StatusCode

from greenroom.chat.v1 import event_service_pb2 as events
from server.core.ids import new_id
from tests.rpc.chat.scenes import Room, Watch
from tests.rpc.chat.talk import pass_time, set_channel
from tests.support.statuses import refused

FOREIGN = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")


@pytest.mark.parametrize("closed", ["archived_at", "blocked"])
async def test_nothing_is_shown_where_nothing_can_be_sent(room: Room, closed: str) -> None:
    shut: dict[str, Any] = {"archived_at": room.server.clock.now(), "blocked": True}
    opened: dict[str, Any] = {"archived_at": None, "blocked": False}
    async with room.watch() as watch:
        await watch.caught_up()
        await set_channel(room, **{closed: shut[closed]})
        await room.type(room.ann)
        call = room.server.events.Connect(metadata=room.ann.metadata)
        typing = events.TypingCommand(channel_id=room.channel.id)
        pass_time(room, 3)
        await call.write(events.ConnectRequest(command_id=1, typing=typing))
        line = await Watch(call).until(lambda line: line.results)
        assert line.results[0].HasField("done"), "it is accepted all the same"
        line.close()
        await set_channel(room, **{closed: opened[closed]})
        await room.send()
        await watch.messages(1)
        assert not watch.of_kind("typing")
        pass_time(room, 3)
        await room.type(room.ann)
        await watch.until(lambda watch: watch.of_kind("typing"))


async def test_strangers_cannot_type(room: Room) -> None:
    eve = await room.server.person("Eve")
    await refused(room.type(eve), *FOREIGN)
    room.channel.id = new_id()
    await refused(room.type(eve), *FOREIGN)


async def test_a_sign_is_shown_at_once_after_ones_own_message(room: Room) -> None:
    async with room.watch(room.bob) as watch:
        await watch.caught_up()
        await room.type(room.ann)
        await watch.until(lambda watch: len(watch.of_kind("typing")) == 1)
        await room.type(room.ann)
        await room.send("said")
        await room.type(room.ann)
        await watch.until(lambda watch: len(watch.of_kind("typing")) == 2)
        await room.type(room.ann)
        await room.send("the last word", by=room.bob)
        await watch.messages(2)
        assert len(watch.of_kind("typing")) == 2, "somebody else's message takes no sign away"
