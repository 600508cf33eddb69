"""A stream of events: first what was missed, then what happens, always with a way back."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass

from server.chat.history import HistoryReader, Mark
from server.chat.hub import Hub
from server.chat.ports import Closing, StreamCall
from server.chat.presence import Attending
from server.chat.resume import ResumeTokens
from server.chat.ring import REPLY_BYTES, Ring
from server.chat.rules import (
    STREAM_CHANNELS,
    Resumed,
    Standing,
    Start,
    Wish,
    departed,
    retry_delay,
    starts,
)
from server.chat.subscriber import Position
from server.core.unit import Unit

CHANGES_AT_ONCE = 16
"""Changes that are read and written at once; with the largest messages they make some 400 KiB."""


@dataclass(frozen=True, slots=True)
class StreamEncoder:
    """Makes replies, as bytes. Frames of events can be joined; a control is a reply of its own."""

    gap: Callable[[str, int, int], bytes]
    """Channel, epoch, first number → frame."""
    read: Callable[[str, int, str, int, int], bytes]
    """Channel, epoch, user, number, from which number on it is marked as unread → frame."""
    delivered: Callable[[str, int, str, int], bytes]
    """Channel, epoch, user, number → frame."""
    ended: Callable[[str, int], bytes]
    """Channel, epoch → frame that says that the reader is no member any more."""
    heartbeat: Callable[[str], bytes]
    """Resume token → control."""
    end: Callable[[str, str, float], bytes]
    """Reason, resume token, seconds to wait → control."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What all streams of this process share."""

    hub: Hub
    history: HistoryReader
    tokens: ResumeTokens
    encode: StreamEncoder
    heartbeat_seconds: float
    attendance: Attending

    def open(self, call: StreamCall) -> "EventStream":
        """A stream that is not subscribed yet."""
        return EventStream(self, call)


class EventStream:
    """One caller's events.

    It registers with the hub first and reads the channels' heads after that, so nothing falls between
    the history and the present: what the hub does not hold it reads from the database, page by page,
    and both are told apart by number alone.
    """

    def __init__(self, shared: Streams, call: StreamCall) -> None:
        self._shared = shared
        self._call = call
        self._user_id = call.caller.user_id
        self._subscriber = shared.hub.subscribe(self._user_id)
        self._outbox: deque[bytes] = deque()
        self._on_written: Callable[[], None] = lambda: None
        self._error: BaseException | None = None
        self._pushed = False
        """True while a pushed control is being written."""
        self._finished = False
        self._ended = False
        self._follows = False
        self._attending = False
        """True while the user is counted as present for the sake of this stream."""
        self.subscribed = False
        self._caught_up = False
        self._beat_due = False
        self._beat: asyncio.TimerHandle | None = None

    # What happens to the stream.

    async def subscribe(self, wish: Wish) -> None:
        """Begins the events. Raises what is wrong with the wish; the stream may try another then."""
        shared = self._shared
        resumed = None
        if wish.resume_token:
            resumed = shared.tokens.read(self._user_id, wish.resume_token)
        if wish.follows:
            shared.hub.follow(self._subscriber)
        try:
            standings, present = await self._call.run(self._standings(wish, resumed), write=False)
            await self._attach(starts(wish, resumed, standings))
            self._subscriber.ended += departed(wish, resumed, present)
        except BaseException:
            shared.hub.unsubscribe(self._subscriber)
            raise
        self._follows = wish.follows
        self.subscribed = True
        self._subscriber.signal()

    def push(self, reply: bytes) -> None:
        """Has a control written as soon as the present reply is out."""
        self._outbox.append(reply)
        self._subscriber.signal()

    def on_written(self, listener: Callable[[], None]) -> None:
        """Calls ``listener`` for each pushed control that was written."""
        self._on_written = listener

    def beat(self) -> None:
        """Has a heartbeat sent, with a token of the present positions."""
        self._beat_due = True
        self._subscriber.signal()

    def finish(self) -> None:
        """Ends the stream once everything pushed is written."""
        self._finished = True
        self._subscriber.signal()

    def fail(self, error: BaseException) -> None:
        """Ends the stream with an error."""
        self._error = error
        self._subscriber.signal()

    # What the stream does.

    async def replies(self, wish: Wish | None = None) -> AsyncIterator[bytes]:
        """Encoded replies, without end until the call closes or the reader goes.

        Subscribes first when there is a ``wish``.
        """
        subscriber = self._subscriber
        encode = self._shared.encode
        closing = asyncio.create_task(_closed(self._call.closing, subscriber.signal))
        try:
            if wish is not None:
                await self.subscribe(wish)
            self._attending = True
            self._shared.attendance.opened(self._user_id)
            self._set_beat()
            while not self._ended:
                await subscriber.ready(events=self.subscribed)
                while (control := self._control()) is not None:
                    yield control
                if self._ended or not self.subscribed:
                    continue
                if endings := await self._memberships():
                    yield endings
                events = subscriber.take(encode.gap)
                level = not subscriber.news and not subscriber.behind
                if events:
                    yield events
                if subscriber.behind:
                    events = await self._page()
                    if events:
                        yield events
                elif level and (subscriber.marks_due or not self._caught_up):
                    async for reply in self._catch_up():
                        yield reply
        finally:
            closing.cancel()
            self._leave()

    def _leave(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._shared.hub.unsubscribe(self._subscriber)
        if self._attending:
            self._shared.attendance.closed(self._user_id)

    def _control(self) -> bytes | None:
        """The next control to write; ``None`` when there is none, or when the stream has to end."""
        if self._error is not None:
            raise self._error
        if self._pushed:
            self._pushed = False
            self._on_written()
        if self._outbox:
            self._pushed = True
            return self._outbox.popleft()
        reason = self._call.closing.reason
        if reason is not None and not self._ended:
            self._ended = True
            return self._shared.encode.end(reason, self._token(), retry_delay(reason))
        if self._finished:
            self._ended = True
        elif self._beat_due and not self._ended:
            self._set_beat()
            return self._shared.encode.heartbeat(self._token())
        return None

    async def _page(self) -> bytes:
        """The next events of a channel that lies behind, from the database."""
        subscriber = self._subscriber
        ring = next(iter(subscriber.behind))
        page = await self._shared.hub.page(ring, subscriber.positions[ring].next)
        if ring not in subscriber.positions:
            return b""  # The membership has ended meanwhile.
        return subscriber.take_page(ring, page, self._shared.encode.gap)

    async def _memberships(self) -> bytes:
        """Takes up the channels that the user has joined; the events that tell of those that ended."""
        subscriber = self._subscriber
        if subscriber.joins:
            await self._join()
        ended, subscriber.ended = subscriber.ended, []
        encode = self._shared.encode.ended
        return b"".join(encode(channel_id, epoch) for channel_id, epoch in ended)

    async def _catch_up(self) -> AsyncIterator[bytes]:
        """What has changed, the present read marks; and, the first time, the heartbeat that says: caught
        up."""
        subscriber = self._subscriber
        if not self._caught_up and any(ring.known > ring.head for ring in subscriber.positions):
            return  # The hub fetches what is missing and flags this stream then.
        subscriber.marks_due = False
        for ring, position in list(subscriber.positions.items()):
            while position.owed and subscriber.positions.get(ring) is position:
                events = await self._changes(ring, position)
                if events:
                    yield events
        channel_ids = [ring.channel_id for ring in subscriber.positions]
        history = self._shared.history
        marks = await self._call.run(
            lambda unit: history.read_marks(unit, channel_ids), write=False
        )
        for reply in _joined(self._mark_events(marks)):
            yield reply
        if not self._caught_up:
            self._caught_up = True
            yield self._shared.encode.heartbeat(self._token())

    async def _changes(self, ring: Ring, position: Position) -> bytes:
        """The next changes of a channel that its notes do not tell of, from the database."""
        epoch, reached = ring.epoch, ring.known_change
        changes = await self._shared.history.changes(
            ring.channel_id, epoch, position.change, CHANGES_AT_ONCE
        )
        if position.epoch != epoch:
            position.owed = False  # The numbering has begun anew, of which a gap tells.
            return b""
        last = changes[-1].change if changes else 0
        if len(changes) < CHANGES_AT_ONCE:
            position.owed = False
            last = max(last, reached)
        position.change = max(position.change, last)
        return b"".join(change.frame for change in changes)

    def _mark_events(self, marks: Iterable[Mark]) -> Iterator[bytes]:
        encode = self._shared.encode
        for channel_id, epoch, user_id, read_seq, delivered_seq, unread_from in marks:
            own = user_id == self._user_id
            if read_seq or (own and unread_from):
                yield encode.read(channel_id, epoch, user_id, read_seq, unread_from if own else 0)
            if delivered_seq > read_seq:
                yield encode.delivered(channel_id, epoch, user_id, delivered_seq)

    async def _join(self) -> None:
        """Attaches to the channels that the user has joined, from the joining on."""
        subscriber = self._subscriber
        joins, subscriber.joins = subscriber.joins, []
        history = self._shared.history
        standings = await self._call.run(
            lambda unit: history.standings_among(unit, self._user_id, joins), write=False
        )
        watched = {ring.channel_id for ring in subscriber.positions}
        new = [standing for standing in standings if standing.channel_id not in watched]
        room = STREAM_CHANNELS - len(watched)
        await self._attach(
            [Start(standing, standing.joined_seq, standing.joining) for standing in new[:room]]
        )

    async def _attach(self, plan: list[Start]) -> None:
        hub = self._shared.hub
        for start in plan:
            hub.attach(self._subscriber, start.standing.channel_id, start.place())
        await hub.check([start.standing.channel_id for start in plan])

    def _standings(
        self, wish: Wish, resumed: Resumed | None
    ) -> Callable[[Unit], tuple[list[Standing], set[str]]]:
        """Reads those of the wished channels of which the caller is a member, and which of those with a
        position are still the caller's. Of more channels than a stream carries, those with the newest
        activity are: nobody can end somebody's streams by making them a member of many."""
        history, user_id = self._shared.history, self._user_id

        def read(unit: Unit) -> tuple[list[Standing], set[str]]:
            if not wish.follows:
                wanted = {*wish.channel_ids, *wish.cursors}
                return history.standings_among(unit, user_id, wanted), set()
            found = history.standings(unit, user_id, STREAM_CHANNELS)
            present = {standing.channel_id for standing in found}
            held = {*wish.cursors, *(resumed.positions if resumed is not None else ())}
            others = history.standings_among(unit, user_id, held - present)
            return found, present | {standing.channel_id for standing in others}

        return read

    def _token(self) -> str:
        positions = (
            (ring.channel_id, *position.seen(), position.change)
            for ring, position in self._subscriber.positions.items()
        )
        return self._shared.tokens.make(self._user_id, positions, follows=self._follows)

    def _set_beat(self) -> None:
        self._beat_due = False
        seconds = self._shared.heartbeat_seconds
        if self._beat is None:
            # Streams that were opened at once, after a restart, do not beat at once for ever.
            seconds *= random.uniform(0.5, 1.0)
        else:
            self._beat.cancel()
        self._beat = asyncio.get_running_loop().call_later(seconds, self.beat)


async def _closed(closing: Closing, listener: Callable[[], None]) -> None:
    await closing.wait()
    listener()


def _joined(frames: Iterable[bytes]) -> Iterable[bytes]:
    """Replies of frames, none much larger than 64 KiB."""
    waiting: list[bytes] = []
    size = 0
    for frame in frames:
        waiting.append(frame)
        size += len(frame)
        if size >= REPLY_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)
