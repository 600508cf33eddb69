"""Puts the chat together."""

from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from greenroom.chat.v1 import (
    channel_service_pb2,
    event_service_pb2,
    member_service_pb2,
    message_service_pb2,
    reaction_service_pb2,
    read_service_pb2,
)
from server.chat.convert import messages, streams
from server.chat.doors import Doors
from server.chat.history import HistoryReader
from server.chat.hub import Hub
from server.chat.lane import Lane
from server.chat.ports import Blocks, Directory, EmptyShelf, MediaShelf, NoBlocks
from server.chat.relay import Committed, Relay
from server.chat.resume import ResumeTokens
from server.chat.sending import BatchWriter
from server.chat.servicers.channels import ChannelServicer
from server.chat.servicers.events import EventServicer
from server.chat.servicers.members import MemberServicer
from server.chat.servicers.messages import MessageServicer, MessageTerms
from server.chat.servicers.reactions import ReactionServicer
from server.chat.servicers.reads import ReadServicer
from server.chat.statements import statements_for
from server.chat.stream import Streams
from server.chat.typing_sign import TypingSigns
from server.chat.usecases.people import People
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.parts import Parts
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

    async def start(self) -> None:
        """Begins to write and to listen. On the loop that serves."""
        self.lane.start()
        self.relay.start()

    async def stop(self) -> None:
        """Writes what waits, then lets go. After the calls were drained."""
        await self.lane.stop()
        await self.relay.stop()
        await self.hub.close()


def build(
    parts: Parts,
    *,
    directory: Directory,
    shelf: MediaShelf | None = None,
    blocks: Blocks | None = None,
) -> ChatModule:
    """The chat on the parts of one server process."""
    database, clock = parts.database, parts.clock
    shelf = shelf or EmptyShelf()
    people = People(directory, blocks or NoBlocks())
    statements = statements_for(database.kind)
    history = HistoryReader(
        database,
        statements,
        encode_message=messages.message_to_bytes,
        events=streams.EVENTS,
    )
    hub = Hub(history)
    relay = Relay(hub, parts.bus, streams.FRAMES)
    writer = BatchWriter(
        statements,
        encode=messages.message_to_bytes,
        new_id=new_id,
        now=lambda: microseconds(clock.now()),
    )
    lane = Lane(
        dedicated=database.dedicated,
        writer_lock=database.writer_lock,
        write=writer.write,
        deliver=relay.sent,
    )
    typing_signs = TypingSigns(history, clock, relay.typing)
    tokens = ResumeTokens(parts.keyring, lambda: int(clock.now().timestamp()))
    event_streams = Streams(
        hub,
        history,
        tokens,
        streams.STREAM,
        parts.settings.stream_heartbeat_seconds,
    )
    edit_window = timedelta(seconds=parts.settings.chat_edit_window_seconds)
    terms = MessageTerms(database.kind, edit_window)
    for kind in get_args(Committed):
        parts.events.subscribe(kind, relay.from_unit)
    return ChatModule(
        services=[
            Service(
                channel_service_pb2.DESCRIPTOR.services_by_name["ChannelService"],
                ChannelServicer(people, shelf, parts.pages, typing_signs),
            ),
            Service(
                member_service_pb2.DESCRIPTOR.services_by_name["MemberService"],
                MemberServicer(people, parts.pages),
            ),
            Service(
                message_service_pb2.DESCRIPTOR.services_by_name["MessageService"],
                MessageServicer(lane, history, parts.pages, shelf, terms),
            ),
            Service(
                reaction_service_pb2.DESCRIPTOR.services_by_name["ReactionService"],
                ReactionServicer(),
            ),
            Service(
                event_service_pb2.DESCRIPTOR.services_by_name["EventService"],
                EventServicer(event_streams, lane, typing_signs, shelf),
            ),
            Service(read_service_pb2.DESCRIPTOR.services_by_name["ReadService"], ReadServicer()),
        ],
        doors=Doors(),
        lane=lane,
        hub=hub,
        relay=relay,
    )
