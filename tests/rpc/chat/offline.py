"""A client that keeps conversations for when it is offline, as far as the tests of syncing need one."""

from typing import Any

from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from greenroom.chat.v1 import message_service_pb2 as messages
from greenroom.chat.v1 import sync_service_pb2 as sync_pb2
from server.chat.resume import ResumeTokens
from tests.rpc.chat.groups import get_channel, list_channels
from tests.rpc.chat.scenes import Room, Watch
from tests.support.serve import Greenroom, Person


class Kept:
    """What the client has of one channel."""

    def __init__(self) -> None:
        self.channel = channel_pb2.Channel()
        self.messages: dict[int, channel_pb2.Message] = {}
        self.reads: dict[str, int] = {}
        self.members: dict[str, int] = {}
        """What was told of memberships since the channel was new."""


class Offline:
    """One device of a person's. It holds the server to what it promises while it takes things in."""

    def __init__(self, server: Greenroom, person: Person) -> None:
        self.server = server
        self.person = person
        self.token = ""
        self.kept: dict[str, Kept] = {}
        self.left: list[str] = []
        self.replies: list[sync_pb2.SyncChannelsResponse] = []

    async def raw(self, page_size: int = 0) -> sync_pb2.SyncChannelsResponse:
        """Asks for one piece."""
        return await self.server.sync.SyncChannels(
            sync_pb2.SyncChannelsRequest(sync_token=self.token, page_size=page_size),
            metadata=self.person.metadata,
        )

    async def page(self, page_size: int = 0) -> sync_pb2.SyncChannelsResponse:
        """Takes one piece."""
        reply = await self.raw(page_size)
        self.replies.append(reply)
        self.token = reply.next_sync_token
        for channel_id in reply.left_channel_ids:
            del self.kept[channel_id]
            self.left.append(channel_id)
        assert len({news.channel_id for news in reply.channels}) == len(reply.channels)
        for news in reply.channels:
            self._take(news)
        return reply

    async def sync(self, page_size: int = 0) -> list[sync_pb2.SyncChannelsResponse]:
        """Takes all there is."""
        self.replies = []
        while (await self.page(page_size)).has_more:
            assert len(self.replies) < 1_000
        return self.replies

    async def watch(self) -> Watch:
        """Goes online until everything has come, and takes it in; the token is the stream's then."""
        call = self.server.events.WatchEvents(
            events.WatchEventsRequest(resume_token=self.token), metadata=self.person.metadata
        )
        watch = Watch(call)
        await watch.caught_up()
        watch.close()
        self.token = watch.token
        for event in watch.events:
            kept = self.kept.setdefault(event.channel_id, Kept())
            match event.WhichOneof("payload"):
                case "message":
                    assert event.seq not in kept.messages, "told twice"
                    kept.messages[event.seq] = event.message
                case "changed":
                    self._change(kept, event.changed)
                case "read":
                    self._read(kept, event.read.user_id, event.read.seq)
                case "member":
                    kept.members[event.member.user_id] = event.member.role
                case "gap":
                    raise AssertionError("a gap")
        return watch

    def _take(self, news: sync_pb2.ChannelNews) -> None:
        if news.reset:
            assert news.HasField("channel")
            self.kept[news.channel_id] = Kept()
        kept = self.kept[news.channel_id]
        if news.HasField("channel"):
            assert not news.channel.HasField("last_message")
            kept.channel = news.channel
        for message in news.messages:
            assert message.seq not in kept.messages, "told twice"
            assert news.reset or not kept.messages or message.seq - 1 in kept.messages, "a gap"
            kept.messages[message.seq] = message
        for message in news.changed:
            self._change(kept, message)
        for member in news.members:
            kept.members[member.user_id] = member.role
        for mark in news.reads:
            self._read(kept, mark.user_id, mark.seq)
        assert news.cursor.channel_id == news.channel_id

    def _change(self, kept: Kept, message: channel_pb2.Message) -> None:
        """Changes of messages that the client does not keep are passed over."""
        known = kept.messages.get(message.seq)
        if known is not None:
            assert message.change > known.change, "told twice"
            kept.messages[message.seq] = message

    def _read(self, kept: Kept, user_id: str, seq: int) -> None:
        kept.reads[user_id] = max(seq, kept.reads.get(user_id, 0))

    async def compare(self) -> None:
        """Holds what the client has against what the lists say."""
        listed = []
        for archived in (False, True):
            page = await list_channels(self.server, self.person, page_size=100, archived=archived)
            listed += page.channels
        assert {channel.id for channel in listed} == set(self.kept)
        for channel in listed:
            kept = self.kept[channel.id]
            channel.ClearField("last_message")
            assert kept.channel == channel
            stored = await self._history(channel.id)
            assert list(kept.messages) == [message.seq for message in stored][-len(kept.messages) :]
            for message in stored[-len(kept.messages) :]:
                # Counted when it was read, and no change.
                known = kept.messages[message.seq]
                known.reply_count = message.reply_count
                assert known == message

    async def _history(self, channel_id: str) -> list[channel_pb2.Message]:
        found: list[channel_pb2.Message] = []
        token = ""
        while True:
            page = await self.server.messages.ListMessages(
                messages.ListMessagesRequest(
                    channel_id=channel_id, after_seq=0, page_size=200, page_token=token
                ),
                metadata=self.person.metadata,
            )
            found += page.messages
            token = page.next_page_token
            if not token:
                return found


async def present(server: Greenroom, by: Person, channel_id: str) -> Any:
    """A channel as the client keeps it."""
    channel = await get_channel(server, by, channel_id)
    channel.ClearField("last_message")
    return channel


async def synced(room: Room, by: Person | None = None) -> Offline:
    """Bob's device, which has everything."""
    device = Offline(room.server, by or room.bob)
    await device.sync()
    return device


def tokens_of(room: Room) -> ResumeTokens:
    """Makes tokens as the server does."""
    clock = room.server.clock
    return ResumeTokens(room.server.running.parts.keyring, lambda: int(clock.now().timestamp()))
