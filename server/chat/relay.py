"""Carries what happens in chat to this process's hub, and the news of it to those of the others."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.chat.events import (
    ChannelTouched,
    DeliveryMarked,
    MemberJoined,
    MemberLeft,
    MessagePosted,
    ReadMarked,
    TypingStarted,
    UnreadMarked,
)
from server.chat.hub import Hub
from server.chat.page_cache import HistoryTasks
from server.chat.sending import Sent
from server.core.bus import Bus
from server.core.errors import GreenroomError
from server.core.ids import new_id

logger = logging.getLogger(__name__)

TOPIC = "chat"
TYPING_SECONDS = 5.0
"""How long a typing sign is worth sending."""
CHECK_SECONDS = 2.0
"""How often the heads of all watched channels are compared with the database: the longest that an
event comes late whose news was lost."""


@dataclass(frozen=True, slots=True)
class FrameEncoder:
    """Makes frames of events, ready to be joined into replies."""

    message: Callable[[str, int, int, bytes], bytes]
    """Channel, epoch, number, encoded message."""
    read: Callable[[str, int, str, int, int], bytes]
    """Channel, epoch, user, number, from which number on it is marked as unread."""
    delivered: Callable[[str, int, str, int], bytes]
    """Channel, epoch, user, number."""
    typing: Callable[[str, int, str], bytes]
    """Channel, epoch, user."""


Committed = (
    ReadMarked
    | UnreadMarked
    | DeliveryMarked
    | MemberJoined
    | MemberLeft
    | ChannelTouched
    | MessagePosted
)


class Relay:
    """The hub of the own process is told directly, those of other processes over the bus.

    What goes over the bus is small and may be lost: the heads that channels have come to, never
    messages. All methods but :meth:`from_unit` run on the loop's thread.
    """

    def __init__(self, hub: Hub, bus: Bus, encode: FrameEncoder) -> None:
        self._hub = hub
        self._bus = bus
        self._encode = encode
        self._origin = new_id()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checking: asyncio.Task[None] | None = None
        self._tasks = HistoryTasks()
        self._stop_listening: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begins to listen and to check."""
        self._loop = asyncio.get_running_loop()
        self._stop_listening = self._bus.subscribe(TOPIC, self._on_bus)
        self._bus.on_gap(self._check_now)
        self._checking = self._loop.create_task(self._check_for_ever())

    async def stop(self) -> None:
        """Stops both."""
        self._stop_listening()
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await self._tasks.cancel()

    def sent(self, messages: list[Sent]) -> None:
        """Messages were stored by this process."""
        hub, encode = self._hub, self._encode.message
        heads: dict[str, tuple[str, int, int]] = {}
        for sent in messages:
            channel_id, epoch, seq = sent.channel_id, sent.epoch, sent.seq
            if hub.watches(channel_id):
                frame = encode(channel_id, epoch, seq, sent.encoded)
                hub.append(channel_id, epoch, seq, sent.sender_id, frame)
            heads[channel_id] = (channel_id, epoch, seq)
        self._publish("heads", *heads.values())

    def typing(self, event: TypingStarted) -> None:
        """Somebody types: the others are shown it."""
        self._show_typing(event.channel_id, event.epoch, event.user_id)
        self._publish("typing", event.channel_id, event.epoch, event.user_id)

    def from_unit(self, event: Committed) -> None:
        """A unit was committed. Called in its thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._committed, event)

    def _committed(self, event: Committed) -> None:
        kind, values = _told(event)
        self._show(kind, values)
        self._publish(kind, *values)

    def _show(self, kind: str, values: Sequence[Any]) -> None:
        """Has the streams of this process see what happened, here or elsewhere."""
        hub = self._hub
        match kind:
            case "heads":
                for channel_id, epoch, seq in values:
                    hub.heard(channel_id, epoch, seq)
            case "touched":
                hub.touched(*values)
            case "read":
                self._show_mark("read", self._encode.read, *values, 0)
            case "unread":
                self._show_unread(*values)
            case "delivered":
                self._show_mark("delivered", self._encode.delivered, *values)
            case "typing":
                self._show_typing(*values)
            case "joined":
                hub.joined(values[0], values[1:])
            case "left":
                hub.left(values[0], values[1:])

    def _show_mark(
        self,
        kind: str,
        encode: Callable[..., bytes],
        channel_id: str,
        epoch: int,
        user_id: str,
        seq: int,
        *more: int,
    ) -> None:
        if self._hub.watches(channel_id):
            frame = encode(channel_id, epoch, user_id, seq, *more)
            self._hub.note(channel_id, kind, user_id, frame, rank=seq)

    def _show_unread(
        self, channel_id: str, epoch: int, user_id: str, read_seq: int, seq: int
    ) -> None:
        if self._hub.watches(channel_id):
            frame = self._encode.read(channel_id, epoch, user_id, read_seq, seq)
            self._hub.note(channel_id, "unread", user_id, frame, only_for=user_id)

    def _show_typing(self, channel_id: str, epoch: int, user_id: str) -> None:
        if self._hub.watches(channel_id):
            frame = self._encode.typing(channel_id, epoch, user_id)
            self._hub.note(
                channel_id, "typing", user_id, frame, seconds=TYPING_SECONDS, not_for=(user_id,)
            )

    def _publish(self, kind: str, *values: Any) -> None:
        if self._bus.is_shared:
            self._bus.publish(TOPIC, orjson.dumps((self._origin, kind, values)))

    def _on_bus(self, payload: bytes) -> None:
        origin, kind, values = orjson.loads(payload)
        if origin != self._origin:
            self._show(kind, values)

    def _check_now(self) -> None:
        """The bus may have lost something."""
        self._tasks.start(self._check())

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            # A task of its own: whatever it meets is logged, and the next check comes all the same.
            await asyncio.wait([self._tasks.start(self._check())])

    async def _check(self) -> None:
        try:
            await self._hub.check_all()
        except GreenroomError as error:
            logger.warning("the chat could not compare itself with the database: %s", error)


def _told(event: Committed) -> tuple[str, tuple[Any, ...]]:
    """What goes over the bus of an event."""
    match event:
        case ReadMarked(channel_id, epoch, user_id, seq):
            return "read", (channel_id, epoch, user_id, seq)
        case UnreadMarked(channel_id, epoch, user_id, read_seq, seq):
            return "unread", (channel_id, epoch, user_id, read_seq, seq)
        case DeliveryMarked(channel_id, epoch, user_id, seq):
            return "delivered", (channel_id, epoch, user_id, seq)
        case MemberJoined(channel_id, user_ids):
            return "joined", (channel_id, *user_ids)
        case MemberLeft(channel_id, user_ids):
            return "left", (channel_id, *user_ids)
        case ChannelTouched(channel_id, epoch, change):
            return "touched", (channel_id, epoch, change)
        case MessagePosted(channel_id, epoch, seq):
            return "heads", ((channel_id, epoch, seq),)
