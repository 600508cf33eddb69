"""What the tests of groups do over and over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from greenroom.chat.v1 import event_service_pb2 as events
from greenroom.chat.v1 import member_service_pb2 as members
from greenroom.chat.v1 import message_service_pb2 as messages
from server.chat.doors import Doors
from server.core.ids import new_id
from tests.rpc.chat.scenes import Watch, chat_of
from tests.support.serve import Greenroom, Person

ADMIN = channel_pb2.MEMBER_ROLE_ADMIN
MEMBER = channel_pb2.MEMBER_ROLE_MEMBER


@dataclass
class Group:
    """A group of Ann, who made it, Bob and Cid. Eve is nobody in it."""

    server: Greenroom
    ann: Person
    bob: Person
    cid: Person
    eve: Person
    channel: channel_pb2.Channel

    @property
    def id(self) -> str:
        """The channel's."""
        return self.channel.id

    async def get(self, by: Person | None = None) -> channel_pb2.Channel:
        """The group as somebody sees it, Ann unless said otherwise."""
        return await get_channel(self.server, by or self.ann, self.id)

    async def send(self, text: str = "hello", *, by: Person | None = None) -> channel_pb2.Message:
        """Sends a message, Ann's unless said otherwise."""
        return await send(self.server, by or self.ann, self.id, text)

    async def add(self, *people: Person, by: Person | None = None) -> list[channel_pb2.Member]:
        """Adds members."""
        return await self.add_ids(*(person.id for person in people), by=by)

    async def add_ids(self, *ids: str, by: Person | None = None) -> list[channel_pb2.Member]:
        """The same, by their ids."""
        reply = await self.server.members.AddMember(
            members.AddMemberRequest(channel_id=self.id, user_ids=ids),
            metadata=(by or self.ann).metadata,
        )
        return list(reply.members)

    async def remove(self, person: Person, *, by: Person | None = None) -> None:
        """Removes a member."""
        await self.server.members.RemoveMember(
            members.RemoveMemberRequest(channel_id=self.id, user_id=person.id),
            metadata=(by or self.ann).metadata,
        )

    async def leave(self, person: Person) -> None:
        """Somebody goes."""
        await self.server.members.LeaveChannel(
            members.LeaveChannelRequest(channel_id=self.id), metadata=person.metadata
        )

    async def set_role(
        self,
        person: Person,
        role: channel_pb2.MemberRole,
        *,
        by: Person | None = None,
        etag: str = "",
        paths: tuple[str, ...] = ("role",),
    ) -> channel_pb2.Member:
        """Gives somebody a role."""
        member = channel_pb2.Member(channel_id=self.id, user_id=person.id, role=role, etag=etag)
        reply = await self.server.members.UpdateMember(
            members.UpdateMemberRequest(member=member, update_mask=FieldMask(paths=paths)),
            metadata=(by or self.ann).metadata,
        )
        return reply.member

    async def roles(self, by: Person | None = None, **page: Any) -> dict[str, int]:
        """The members with their roles, in the order in which they are listed."""
        reply = await self.server.members.ListMembers(
            members.ListMembersRequest(channel_id=self.id, **page),
            metadata=(by or self.ann).metadata,
        )
        return {member.user_id: member.role for member in reply.members}

    async def update(
        self,
        *paths: str,
        by: Person | None = None,
        **values: Any,
    ) -> channel_pb2.Channel:
        """Changes the group; the paths are those of the values unless said otherwise."""
        channel = channel_pb2.Channel(id=self.id, **values)
        mask = FieldMask(paths=paths or [name for name in values if name != "etag"])
        reply = await self.server.channels.UpdateChannel(
            channels.UpdateChannelRequest(channel=channel, update_mask=mask),
            metadata=(by or self.ann).metadata,
        )
        return reply.channel

    async def archive(self, by: Person | None = None) -> Any:
        """Archives the group; since when it is."""
        reply = await self.server.channels.DeleteChannel(
            channels.DeleteChannelRequest(channel_id=self.id),
            metadata=(by or self.ann).metadata,
        )
        return reply.archive_time

    async def mute(self, by: Person, duration: timedelta) -> channels.MuteChannelResponse:
        """Mutes the group."""
        told = Duration()
        told.FromTimedelta(duration)
        return await mute(self.server, by, self.id, told)


async def mute(
    server: Greenroom, by: Person, channel_id: str, duration: Duration | None
) -> channels.MuteChannelResponse:
    """Mutes a channel."""
    return await server.channels.MuteChannel(
        channels.MuteChannelRequest(channel_id=channel_id, duration=duration),
        metadata=by.metadata,
    )


async def make_group(server: Greenroom, by: Person, *others: Person, **values: Any) -> Any:
    """A new group."""
    request = channels.CreateChannelRequest(
        **{"title": "Crew", "member_ids": [other.id for other in others], **values}
    )
    return (await server.channels.CreateChannel(request, metadata=by.metadata)).channel


async def group_on(server: Greenroom) -> Group:
    """Four people, three of whom are in a group."""
    ann, bob, cid, eve = [await server.person(name) for name in ("Ann", "Bob", "Cid", "Eve")]
    return Group(server, ann, bob, cid, eve, await make_group(server, ann, bob, cid))


async def get_channel(server: Greenroom, by: Person, channel_id: str) -> channel_pb2.Channel:
    """A channel as somebody sees it."""
    reply = await server.channels.GetChannel(
        channels.GetChannelRequest(channel_id=channel_id), metadata=by.metadata
    )
    return reply.channel


async def list_channels(
    server: Greenroom, by: Person, **query: Any
) -> channels.ListChannelsResponse:
    """A page of somebody's channels."""
    return await server.channels.ListChannels(
        channels.ListChannelsRequest(**query), metadata=by.metadata
    )


async def send(
    server: Greenroom, by: Person, channel_id: str, text: str = "hello"
) -> channel_pb2.Message:
    """Sends a message."""
    reply = await server.messages.SendMessage(
        messages.SendMessageRequest(channel_id=channel_id, client_id=new_id(), text=text),
        metadata=by.metadata,
    )
    return reply.message


@asynccontextmanager
async def watching(server: Greenroom, *people: Person, **wish: Any) -> AsyncIterator[Any]:
    """A stream of each of the people, caught up, until the block is left."""
    watches = [
        Watch(
            server.events.WatchEvents(events.WatchEventsRequest(**wish), metadata=person.metadata)
        )
        for person in people
    ]
    try:
        await asyncio.gather(*(watch.caught_up() for watch in watches))
        yield watches if len(watches) > 1 else watches[0]
    finally:
        for watch in watches:
            watch.close()


async def token_of(server: Greenroom, person: Person) -> str:
    """A position of somebody who goes away now."""
    async with watching(server, person) as watch:
        return str(watch.token)


def members_in(watch: Watch) -> list[tuple[str, int]]:
    """What a stream was told of memberships."""
    return [(event.member.user_id, event.member.role) for event in watch.of_kind("member")]


def doors_of(server: Greenroom) -> Doors:
    """The doors of the running server's chat."""
    return chat_of(server).doors
