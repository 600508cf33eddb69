"""Two people talk: the whole slice in one breath."""

from collections.abc import Callable
from typing import Any

import pytest

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import event_service_pb2 as event_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from server.auth.servicers.auth import AuthServicer
from server.wire.policies import ContractError


async def test_two_people_talk(server: Any) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    me = await server.auth.GetMe(auth_pb.GetMeRequest(), metadata=ada.metadata)
    assert me.user.email == ada.email
    assert list(me.user.roles) == ["creator"]

    reply = await server.channels.GetDirectChannel(
        channel_pb.GetDirectChannelRequest(user_id=bob.id), metadata=ada.metadata
    )
    channel_id = reply.channel.id
    stream = server.events.WatchEvents(event_pb.WatchEventsRequest(), metadata=bob.metadata)
    first = await stream.read()
    assert first.heartbeat.resume_token
    sent = await server.messages.SendMessage(
        message_pb.SendMessageRequest(channel_id=channel_id, client_id="one", text="hello"),
        metadata=ada.metadata,
    )
    assert sent.message.seq == 1
    (event,) = (await stream.read()).events
    assert event.message == sent.message
    page = await server.messages.ListMessages(
        message_pb.ListMessagesRequest(channel_id=channel_id), metadata=bob.metadata
    )
    assert list(page.messages) == [sent.message]
    assert (page.cursor.channel_id, page.cursor.seq) == (channel_id, 1)
    stream.cancel()


async def test_a_start_that_is_refused_leaves_nothing_open(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(AuthServicer, "GetMe", None)
        for _ in range(2):
            with pytest.raises(ContractError, match="AuthServicer has no such method"):
                await serve()
    server = await serve()
    await server.person("Ada")
