"""Puts the chat together."""

from dataclasses import dataclass

from greenroom.chat.v1 import channel_service_pb2, event_service_pb2, message_service_pb2
from server.chat import convert
from server.chat.events import MemberJoined, ReadMarked
from server.chat.history import HistoryReader
from server.chat.hub import Hub
from server.chat.lane import Lane
from server.chat.ports import Directory
from server.chat.relay import Relay
from server.chat.resume import ResumeTokens
from server.chat.sending import BatchWriter
from server.chat.servicer import ChannelServicer, EventServicer, MessageServicer
from server.chat.statements import statements_for
from server.chat.stream import Streams
from server.chat.typing_sign import TypingSigns
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.parts import Parts
from server.wire.service import Service


@dataclass(frozen=True)
class ChatModule:
    """What the composition root needs of the chat."""

    services: list[Service]
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


def build(parts: Parts, *, directory: Directory) -> ChatModule:
    """The chat on the parts of one server process."""
    database, clock = parts.database, parts.clock
    statements = statements_for(database.kind)
    history = HistoryReader(
        database,
        statements,
        encode_message=convert.message_to_bytes,
        encode_event=convert.message_event,
    )
    hub = Hub(history)
    relay = Relay(hub, parts.bus, convert.FRAMES)
    writer = BatchWriter(
        statements,
        encode=convert.message_to_bytes,
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
    streams = Streams(
        hub,
        history,
        ResumeTokens(parts.keyring),
        convert.STREAM,
        parts.settings.stream_heartbeat_seconds,
    )
    parts.events.subscribe(MemberJoined, relay.from_unit)
    parts.events.subscribe(ReadMarked, relay.from_unit)
    return ChatModule(
        services=[
            Service(
                channel_service_pb2.DESCRIPTOR.services_by_name["ChannelService"],
                ChannelServicer(directory, typing_signs),
            ),
            Service(
                message_service_pb2.DESCRIPTOR.services_by_name["MessageService"],
                MessageServicer(lane, history, parts.pages),
            ),
            Service(
                event_service_pb2.DESCRIPTOR.services_by_name["EventService"],
                EventServicer(streams, lane, typing_signs),
            ),
        ],
        lane=lane,
        hub=hub,
        relay=relay,
    )
