"""One subscriber: where it stands in each of its channels, and nothing else."""

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from server.chat.ring import REPLY_BYTES, Ring

if TYPE_CHECKING:
    from server.chat.hub import Hub

EncodeGap = Callable[[str, int, int], bytes]
"""Encodes, for a channel and its epoch, the gap after which events go on from a number."""


class Page(NamedTuple):
    """Events from the database, joined: the number of the first one, and the one after the last."""

    first: int
    following: int
    joined: bytes


class Place(NamedTuple):
    """From where a subscriber watches a channel that stands at ``last_seq`` and ``last_change``."""

    epoch: int
    last_seq: int
    next_seq: int
    last_change: int = 0
    change: int = 0
    """The last change that it has seen."""
    missed: tuple[int, int] | None = None
    """Epoch and number after which events are missing of which the reader is to be told."""


class Position:
    """Where a subscriber stands in a channel."""

    __slots__ = ("change", "epoch", "missed", "next", "owed", "version")

    def __init__(
        self,
        epoch: int,
        next_seq: int,
        version: int,
        missed: tuple[int, int] | None,
        change: int,
        *,
        owed: bool,
    ) -> None:
        self.epoch = epoch
        self.missed = missed
        """Epoch and number after which events are missing of which the reader was not told yet."""
        self.next = next_seq
        """The number of the next event it is to get."""
        self.version = version
        """The last note it has got."""
        self.change = change
        """The last change that it has got."""
        self.owed = owed
        """True when there are changes after that which no note tells of: they are to be read."""

    def seen(self) -> tuple[int, int]:
        """Epoch and number after which a new stream has to go on."""
        return self.missed or (self.epoch, self.next - 1)


class Subscriber:
    """Positions in rings, the rings that have news, and a way to be woken.

    It holds no event: however slow its reader is, it costs the same. Its stream is the only one to
    await :meth:`ready`.
    """

    __slots__ = (
        "_hub",
        "_waiter",
        "behind",
        "deferred",
        "ended",
        "hot_until",
        "joins",
        "marks_due",
        "news",
        "positions",
        "signalled",
        "user_id",
    )

    def __init__(self, hub: "Hub", user_id: str) -> None:
        self._hub = hub
        self.user_id = user_id
        self.positions: dict[Ring, Position] = {}
        self.news: dict[Ring, None] = {}
        """Rings in which something waits for it, in the order in which that came."""
        self.behind: dict[Ring, None] = {}
        """Rings of which the next event is not in memory any more."""
        self.joins: list[str] = []
        """Channels that the user joined meanwhile."""
        self.ended: list[tuple[str, int]] = []
        """Channels, with their epochs, of which the user ceased to be a member meanwhile."""
        self.marks_due = False
        """True when read marks or changes were dropped before it got them."""
        self.signalled = False
        """True when the stream has something else to do than to write events."""
        self.hot_until = 0.0
        """Before this time more events wait for the next tick, so that they leave in one reply."""
        self.deferred = False
        self._waiter: asyncio.Future[None] | None = None

    def attach(self, ring: Ring, place: Place) -> None:
        """Takes a place in a ring; it is looked at when the stream comes round."""
        epoch, _, next_seq, last_change, change, missed = place
        owed = change < max(last_change, ring.change)
        self.positions[ring] = Position(epoch, next_seq, ring.version, missed, change, owed=owed)
        self.marks_due = self.marks_due or owed
        self.news[ring] = None
        ring.watchers += 1

    def detach(self, ring: Ring) -> None:
        """Gives a place up."""
        del self.positions[ring]
        self.news.pop(ring, None)
        self.behind.pop(ring, None)
        ring.idle.discard(self)
        ring.watchers -= 1

    def flag(self, ring: Ring) -> None:
        """The ring has news: wakes the stream, or has it woken by the next tick if it wrote just now."""
        self.news[ring] = None
        if self._waiter is not None and not self.deferred:
            if self._hub.now() < self.hot_until:
                self._hub.defer(self)
            else:
                self.wake()

    def signal(self) -> None:
        """Has the stream come round at once, whatever it wrote just now."""
        self.signalled = True
        self.wake()

    def wake(self) -> None:
        """Ends :meth:`ready`'s wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ready(self, *, events: bool = True) -> None:
        """Returns when there is something to do: events that may be written, or a signal.

        Without ``events`` only a signal counts: a stream that has not yet taken all its places may
        not write, and would come round again and again without ever letting the others on.
        """
        while not self.signalled and not (events and self.behind):
            if events and self.news:
                if self._hub.now() >= self.hot_until:
                    return
                if not self.deferred:
                    self._hub.defer(self)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.signalled = False

    def take(self, gap: EncodeGap) -> bytes:
        """The next reply's events, up to about 64 KiB; empty when there are none in memory.

        Channels whose next event is not in memory any more move to :attr:`behind`.
        """
        parts: list[bytes] = []
        size = 0
        while self.news:
            ring = next(iter(self.news))
            position = self.positions[ring]
            if position.epoch != ring.epoch:
                position.missed = position.missed or position.seen()
                position.epoch = ring.epoch
                position.next = ring.head + 1
                position.change, position.owed = ring.change, False
            if position.missed is not None:
                position.missed = None
                part = gap(ring.channel_id, ring.epoch, position.next)
            elif position.next > ring.head:
                part = self._notes(ring, position)
                del self.news[ring]
                ring.idle.add(self)
                if not part:
                    continue
            elif position.next < ring.first:
                del self.news[ring]
                self.behind[ring] = None
                continue
            else:
                following, part = ring.chunk(position.next)
                if parts and size + len(part) > REPLY_BYTES:
                    break
                position.next = following
            parts.append(part)
            size += len(part)
        if not parts:
            return b""
        until = self._hub.wrote()
        # With more to come than fits into a reply the reader lags: nothing is gained by waiting.
        self.hot_until = 0.0 if self.news else until
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_page(self, ring: Ring, page: Page, gap: EncodeGap) -> bytes:
        """A reply of events that were read from the database for a ring in :attr:`behind`."""
        position = self.positions[ring]
        del self.behind[ring]
        missing = b""
        if page.first > position.next:
            missing = gap(ring.channel_id, ring.epoch, page.first)
        position.next = max(position.next, page.following)
        # Either queue is left and entered at its end, so that long histories take turns.
        if position.epoch == ring.epoch and position.next < ring.first:
            self.behind[ring] = None
        else:
            self.news[ring] = None
        return missing + page.joined if missing else page.joined

    def _notes(self, ring: Ring, position: Position) -> bytes:
        if position.version == ring.version:
            return b""
        if position.version < ring.forgotten:
            position.owed = self.marks_due = True
        # Changes go out in the order of their numbers: what is owed comes first, and from the database.
        seen = math.inf if position.owed else position.change
        if not position.owed:
            position.change = max(position.change, ring.change)
        frames = ring.notes_after(position.version, self.user_id, self._hub.now(), seen)
        position.version = ring.version
        return b"".join(frames)
