"""Puts the chat together."""

from dataclasses import dataclass
from typing import get_args

from greenroom.chat.v1 import (
    channel_service_pb2,
    event_service_pb2,
    member_service_pb2,
    message_service_pb2,
    presence_service_pb2,
    reaction_service_pb2,
    read_service_pb2,
    sync_service_pb2,
)
from server.auth.events import UserErasing
from server.chat.convert import messages, streams
from server.chat.convert.presence import presence_event
from server.chat.deltas import DeltaReader
from server.chat.doors import Doors
from server.chat.history import HistoryReader
from server.chat.hub import Hub
from server.chat.lane import Lane
from server.chat.ports import (
    Blocks,
    Directory,
    EmptyShelf,
    MediaShelf,
    NoBlocks,
    NobodyHides,
    PresenceWishes,
)
from server.chat.presence_keeper import PresenceKeeper
from server.chat.relay import Committed, Relay
from server.chat.resume import ResumeTokens
from server.chat.sending import BatchWriter, Sent
from server.chat.servicers.channels import ChannelServicer
from server.chat.servicers.events import EventServicer
from server.chat.servicers.members import MemberServicer
from server.chat.servicers.messages import MessageServicer, MessageTerms
from server.chat.servicers.presence import PresenceServicer
from server.chat.servicers.reactions import ReactionServicer
from server.chat.servicers.reads import ReadServicer
from server.chat.servicers.sync import SyncServicer
from server.chat.standings import Standings
from server.chat.statements import Statements, statements_for
from server.chat.stream import Streams
from server.chat.typing_sign import TypingSigns
from server.chat.usecases.history import HistoryDesk
from server.chat.usecases.members import leave_all
from server.chat.usecases.people import People
from server.chat.usecases.presence import PresenceDoors
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.parts import Parts
from server.core.unit import Unit
from server.wire.service import Service


@dataclass(frozen=True)
class ChatModule:
    """What the composition root needs of the chat."""

    services: list[Service]
    doors: Doors
    """What modules above the chat have done with conversations."""
    lane: Lane
    hub: Hub
    relay: Relay
    presence: PresenceKeeper

    async def start(self) -> None:
        """Begins to write and to listen. On the loop that serves."""
        self.lane.start()
        self.relay.start()
        self.presence.start()

    async def stop(self) -> None:
        """Writes what waits, then lets go. After the calls were drained."""
        await self.lane.stop()
        await self.presence.stop()
        await self.relay.stop()
        await self.hub.close()


def take_part(parts: Parts, directory: Directory) -> None:
    """Conversations do their part in the units of other modules: in every process that runs such units, also
    in one that serves nothing."""

    def leave(unit: Unit, event: UserErasing) -> None:
        leave_all(unit, directory, event.user_id)

    parts.events.join(UserErasing, leave)


def build(
    parts: Parts,
    *,
    directory: Directory,
    shelf: MediaShelf | None = None,
    blocks: Blocks | None = None,
    wishes: PresenceWishes | None = None,
) -> ChatModule:
    """The chat on the parts of one server process."""
    take_part(parts, directory)
    database, clock = parts.database, parts.clock
    shelf = shelf or EmptyShelf()
    people = People(directory, blocks or NoBlocks())
    statements = statements_for(database.kind)
    history = HistoryReader(
        database,
        statements,
        encode_message=messages.message_to_bytes,
        encode_page=messages.page_to_bytes,
        events=streams.EVENTS,
    )
    hub = Hub(history)
    relay = Relay(hub, parts.bus, streams.FRAMES)
    typing_signs = TypingSigns(history, clock, relay.typing)
    lane = _lane(parts, statements, relay, typing_signs)
    tokens = ResumeTokens(parts.keyring, lambda: int(clock.now().timestamp()))
    presence_doors = PresenceDoors(directory, wishes or NobodyHides())
    presence = PresenceKeeper(database, clock, hub, parts.bus, presence_doors, presence_event)
    event_streams = Streams(
        hub,
        history,
        tokens,
        streams.STREAM,
        parts.settings.stream_heartbeat_seconds,
        presence,
    )
    desk = HistoryDesk(Standings(history.standings_of), history, parts.pages)
    terms = MessageTerms(database.kind, parts.settings.chat_edit_window_seconds)
    for kind in get_args(Committed):
        parts.events.subscribe(kind, relay.from_unit)
    return ChatModule(
        services=[
            Service.of(
                channel_service_pb2, ChannelServicer(people, shelf, parts.pages, typing_signs)
            ),
            Service.of(member_service_pb2, MemberServicer(people, parts.pages)),
            Service.of(message_service_pb2, MessageServicer(lane, desk, shelf, terms)),
            Service.of(reaction_service_pb2, ReactionServicer()),
            Service.of(event_service_pb2, EventServicer(event_streams, lane, typing_signs, shelf)),
            Service.of(read_service_pb2, ReadServicer()),
            Service.of(sync_service_pb2, SyncServicer(DeltaReader(statements), tokens)),
            Service.of(presence_service_pb2, PresenceServicer(presence_doors)),
        ],
        doors=Doors(),
        lane=lane,
        hub=hub,
        relay=relay,
        presence=presence,
    )


def _lane(parts: Parts, statements: Statements, relay: Relay, typing_signs: TypingSigns) -> Lane:
    """The writer of all sends, who tells the relay of them."""
    clock = parts.clock
    writer = BatchWriter(
        statements,
        encode=messages.message_to_bytes,
        new_id=new_id,
        now=lambda: microseconds(clock.now()),
    )

    def deliver(sent: list[Sent]) -> None:
        relay.sent(sent)
        for each in sent:
            typing_signs.forget(each.sender_id, each.channel_id)

    return Lane(
        dedicated=parts.database.dedicated,
        writer_lock=parts.database.writer_lock,
        write=writer.write,
        deliver=deliver,
    )
