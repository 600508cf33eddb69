"""A hub on a history in memory, with a clock that is turned by hand."""

import asyncio
import heapq
import itertools
from collections.abc import Callable

import pytest

from server.chat.changes import Change
from server.chat.hub import Hub
from server.chat.pace import Pace
from server.chat.subscriber import Place, Subscriber


class ManualTimers:
    """Keeps time for a hub; nothing happens until it is advanced."""

    def __init__(self) -> None:
        self.now = 100.0
        self._number = itertools.count()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> None:
        heapq.heappush(self._waiting, (when, next(self._number), callback))

    def call_soon(self, callback: Callable[[], None], /) -> None:
        callback()

    @property
    def pending(self) -> int:
        return len(self._waiting)

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._waiting and self._waiting[0][0] <= end + 1e-9:
            self.now, _, callback = heapq.heappop(self._waiting)
            callback()
        self.now = max(self.now, end)


class MemoryHistory:
    """What the database would answer; frames are ``<channel><seq>``."""

    def __init__(self) -> None:
        self.channels: dict[str, tuple[int, int]] = {}
        self.start: dict[str, int] = {}
        self.members: list[tuple[str, str]] = []
        self.departures: list[tuple[str, str]] = []
        self.changed: dict[str, dict[int, int]] = {}
        """The number of the last change of each message that was changed."""
        self.reads = 0
        self.change_reads = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    def put(self, channel: str, count: int = 1) -> int:
        epoch, head = self.channels.get(channel, (1, 0))
        self.channels[channel] = (epoch, head + count)
        return head + count

    def edit(self, channel: str, seq: int) -> int:
        """Changes a message; the number of the change."""
        texts = self.changed.setdefault(channel, {})
        texts[seq] = change = self.last_change(channel) + 1
        return change

    def last_change(self, channel: str) -> int:
        return max(self.changed.get(channel, {}).values(), default=0)

    async def heads(self, channel_ids: list[str]) -> list[tuple[str, int, int, int]]:
        if self.error is not None:
            raise self.error
        return [
            (key, *self.channels[key], self.last_change(key))
            for key in channel_ids
            if key in self.channels
        ]

    async def changes(self, channel_id: str, epoch: int, after: int, limit: int) -> list[Change]:
        self.change_reads += 1
        if self.error is not None:
            raise self.error
        found = sorted(
            (change, seq) for seq, change in self.changed[channel_id].items() if change > after
        )
        return [
            Change(
                change,
                "message",
                str(seq),
                f"{channel_id}{seq}={change};".encode(),
                seq,
                f"{channel_id}{seq}*{change};".encode(),
            )
            for change, seq in found[:limit]
        ]

    async def frames(
        self, channel_id: str, epoch: int, after: int, limit: int
    ) -> tuple[int, list[bytes]]:
        self.reads += 1
        head = self.channels[channel_id][1]
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        first = max(after, self.start.get(channel_id, 0)) + 1
        last = min(head, first + limit - 1)
        return first, [frame_of(channel_id, seq) for seq in range(first, last + 1)]

    async def recent_members(self) -> list[tuple[str, str]]:
        return self.members

    async def recent_departures(self) -> list[tuple[str, str]]:
        return self.departures


def frame_of(channel: str, seq: int) -> bytes:
    return f"{channel}{seq};".encode()


def gap_of(channel: str, epoch: int, first: int) -> bytes:
    return f"gap-{channel}-{epoch}-{first};".encode()


class Bench:
    """The hub, and the moves that tests make on it."""

    def __init__(self) -> None:
        self.timers = ManualTimers()
        self.history = MemoryHistory()
        self.pace = Pace()
        self.hub = Hub(self.history, self.timers, self.pace)

    def watch(
        self, user: str, channel: str, after: int | None = None, change: int | None = None
    ) -> Subscriber:
        """A subscriber of a channel, from the head on or after a number and a change."""
        epoch, head = self.history.channels.setdefault(channel, (1, 0))
        subscriber = self.hub.subscribe(user)
        last = self.history.last_change(channel)
        place = Place(
            epoch,
            head,
            (head if after is None else after) + 1,
            last,
            last if change is None else change,
        )
        self.hub.attach(subscriber, channel, place)
        return subscriber

    def send(self, channel: str, sender: str = "s") -> int:
        """Stores an event and tells the hub."""
        seq = self.history.put(channel)
        epoch = self.history.channels[channel][0]
        self.hub.append(channel, epoch, seq, sender, frame_of(channel, seq))
        return seq

    async def read(self, subscriber: Subscriber) -> str:
        """Everything that a stream would write now."""
        written = b""
        while True:
            written += subscriber.take(gap_of)
            if not subscriber.behind:
                if not subscriber.news:
                    return written.decode()
                continue
            ring = next(iter(subscriber.behind))
            page = await self.hub.page(ring, subscriber.positions[ring].next)
            written += subscriber.take_page(ring, page, gap_of)


@pytest.fixture
def bench() -> Bench:
    return Bench()
