"""What can be done with messages, for the tests of it: in a room's channel, by Ann unless said otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from greenroom.chat.v1 import message_service_pb2 as messages
from greenroom.chat.v1 import reaction_service_pb2 as reactions
from server.chat.models import Channel, Member, Message
from server.chat.ports import Media
from server.core.clock import ManualClock
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.chat.scenes import Room, Watch, in_unit
from tests.support.serve import Person


class TableShelf:
    """Media as a table of the test's: what each user has that is ready."""

    __test__ = False

    def __init__(self) -> None:
        self.media: dict[str, tuple[str, Media]] = {}

    def put(self, owner: Person, kind: str = "IMAGE", name: str = "cat.png") -> str:
        """A new asset of somebody's."""
        media_id = new_id()
        self.media[media_id] = owner.id, Media(media_id, kind, name, "image/png", 1234)
        return media_id

    def ready(self, _unit: Unit, user_id: str, media_ids: Sequence[str]) -> Mapping[str, Media]:
        """As ``MediaShelf``."""
        return {
            media_id: self.media[media_id][1]
            for media_id in media_ids
            if media_id in self.media and self.media[media_id][0] == user_id
        }


async def send(
    room: Room, text: str = "hello", *, by: Person | None = None, **fields: Any
) -> channel_pb2.Message:
    """Sends a message with whatever fields."""
    request = messages.SendMessageRequest(
        **{"channel_id": room.channel.id, "client_id": new_id(), "text": text, **fields}
    )
    metadata = (by or room.ann).metadata
    return (await room.server.messages.SendMessage(request, metadata=metadata)).message


async def get(
    room: Room, message_id: str, *, by: Person | None = None, edits: bool = False
) -> messages.GetMessageResponse:
    """Reads a message."""
    return await room.server.messages.GetMessage(
        messages.GetMessageRequest(message_id=message_id, include_edits=edits),
        metadata=(by or room.ann).metadata,
    )


async def edit(
    room: Room,
    message_id: str,
    text: str | None = None,
    *,
    by: Person | None = None,
    mentions: Sequence[str] | None = None,
    etag: str = "",
    paths: Sequence[str] | None = None,
) -> channel_pb2.Message:
    """Edits what is given of a message; ``paths`` stands in for the mask that this makes."""
    named = {"text": text, "mentioned_user_ids": mentions}
    mask = [path for path, value in named.items() if value is not None]
    reply = await room.server.messages.UpdateMessage(
        messages.UpdateMessageRequest(
            message=channel_pb2.Message(
                id=message_id, text=text or "", mentioned_user_ids=mentions or ()
            ),
            update_mask=FieldMask(paths=mask if paths is None else paths),
            etag=etag,
        ),
        metadata=(by or room.ann).metadata,
    )
    return reply.message


async def delete(room: Room, message_id: str, *, by: Person | None = None) -> channel_pb2.Message:
    """Deletes a message."""
    reply = await room.server.messages.DeleteMessage(
        messages.DeleteMessageRequest(message_id=message_id), metadata=(by or room.ann).metadata
    )
    return reply.message


async def react(
    room: Room, message_id: str, emoji: str = "👍", *, by: Person | None = None
) -> channel_pb2.Message:
    """Puts an emoji under a message."""
    reply = await room.server.reactions.AddReaction(
        reactions.AddReactionRequest(message_id=message_id, emoji=emoji),
        metadata=(by or room.ann).metadata,
    )
    return reply.message


async def unreact(
    room: Room, message_id: str, emoji: str = "👍", *, by: Person | None = None
) -> channel_pb2.Message:
    """Takes an emoji away."""
    reply = await room.server.reactions.RemoveReaction(
        reactions.RemoveReactionRequest(message_id=message_id, emoji=emoji),
        metadata=(by or room.ann).metadata,
    )
    return reply.message


async def replies(
    room: Room, message_id: str, *, by: Person | None = None, **query: Any
) -> messages.ListRepliesResponse:
    """A page of a thread."""
    return await room.server.messages.ListReplies(
        messages.ListRepliesRequest(message_id=message_id, **query),
        metadata=(by or room.ann).metadata,
    )


async def search(
    room: Room, query: str, *, by: Person | None = None, **more: Any
) -> messages.SearchMessagesResponse:
    """A page of what is found."""
    return await room.server.messages.SearchMessages(
        messages.SearchMessagesRequest(query=query, **more), metadata=(by or room.ann).metadata
    )


async def found(room: Room, query: str, **more: Any) -> list[str]:
    """The texts of what is found."""
    return [message.text for message in (await search(room, query, **more)).messages]


async def command(
    room: Room, *sends: events.SendMessageCommand, by: Person | None = None
) -> list[events.CommandResult]:
    """What comes of sends over one Connect stream."""
    call = room.server.events.Connect(metadata=(by or room.ann).metadata)
    for number, one in enumerate(sends, 1):
        await call.write(events.ConnectRequest(command_id=number, send=one))
    await call.done_writing()
    watch = Watch(call)
    await watch.until(lambda watch: len(watch.results) == len(sends))
    return sorted(watch.results, key=lambda result: result.command_id)


def result_of(result: events.CommandResult) -> str:
    """``message``, or the reason why there is none."""
    return result.error.reason if result.HasField("error") else "message"


async def group_of(room: Room, *others: Person) -> Room:
    """A group that Ann looks after, with Bob and others in it."""

    def make(unit: Unit) -> str:
        channel = Channel.create(type="GROUP", title="Group", created_by=room.ann.id)
        for person in (room.ann, room.bob, *others):
            Member.insert(
                channel_id=channel.id,
                user_id=person.id,
                role="ADMIN" if person is room.ann else "MEMBER",
                create_time=unit.now,
                update_time=unit.now,
            ).execute()
        return channel.id

    channel = channel_pb2.Channel(id=await in_unit(room.server, make))
    return Room(room.server, room.ann, room.bob, channel)


async def set_channel(room: Room, **values: Any) -> None:
    """Changes columns of the channel behind the server's back."""

    def work(_unit: Unit) -> None:
        Channel.update(**values).where(Channel.id == room.channel.id).execute()

    await in_unit(room.server, work)


async def archive(room: Room) -> None:
    """Archives the channel."""
    await set_channel(room, archived_at=room.server.clock.now())


async def leave(room: Room, person: Person) -> None:
    """Takes somebody's membership away."""

    def work(_unit: Unit) -> None:
        Member.delete().where(
            (Member.channel_id == room.channel.id) & (Member.user_id == person.id)
        ).execute()

    await in_unit(room.server, work)


async def row_of(room: Room, message_id: str) -> Message:
    """The message's row."""
    return await in_unit(room.server, lambda _unit: Message.get_by_id(message_id))


def pass_time(room: Room, seconds: float) -> None:
    """Turns the server's clock on."""
    clock = room.server.clock
    assert isinstance(clock, ManualClock)
    clock.advance(seconds)
