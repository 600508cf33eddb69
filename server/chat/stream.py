"""A stream of events: first what was missed, then what happens, always with a way back."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from server.chat.errors import TooManyChannels
from server.chat.history import HistoryReader
from server.chat.hub import Hub
from server.chat.ports import Closing, StreamCall
from server.chat.resume import ResumeTokens
from server.chat.ring import REPLY_BYTES
from server.chat.rules import STREAM_CHANNELS, Standing, Start, Wish, retry_delay, starts
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class StreamEncoder:
    """Makes replies, as bytes. Frames of events can be joined; a control is a reply of its own."""

    gap: Callable[[str, int, int], bytes]
    """Channel, epoch, first number → frame."""
    read: Callable[[str, int, str, int], bytes]
    """Channel, epoch, user, number → frame."""
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
            plan = starts(wish, resumed, await self._call.run(self._standings(wish), write=False))
            await self._attach(plan)
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
            self._set_beat()
            while not self._ended:
                await subscriber.ready(events=self.subscribed)
                while (control := self._control()) is not None:
                    yield control
                if self._ended or not self.subscribed:
                    continue
                if subscriber.joins:
                    await self._join()
                events = subscriber.take(encode.gap)
                level = not subscriber.news and not subscriber.behind
                if events:
                    yield events
                if subscriber.behind:
                    events = await self._page()
                    if events:
                        yield events
                elif (level and not self._caught_up) or subscriber.marks_due:
                    for reply in await self._marks():
                        yield reply
        finally:
            closing.cancel()
            if self._beat is not None:
                self._beat.cancel()
            self._shared.hub.unsubscribe(subscriber)

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
        return subscriber.take_page(ring, page, self._shared.encode.gap)

    async def _marks(self) -> list[bytes]:
        """The present read marks; and, the first time, the heartbeat that says: caught up."""
        subscriber = self._subscriber
        if not self._caught_up and any(ring.known > ring.head for ring in subscriber.positions):
            return []  # The hub fetches what is missing and flags this stream then.
        subscriber.marks_due = False
        channel_ids = [ring.channel_id for ring in subscriber.positions]
        history, read = self._shared.history, self._shared.encode.read
        marks = await self._call.run(
            lambda unit: history.read_marks(unit, channel_ids), write=False
        )
        replies = list(_joined(read(*mark) for mark in marks))
        if not self._caught_up:
            self._caught_up = True
            replies.append(self._shared.encode.heartbeat(self._token()))
        return replies

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
        if len(watched) + len(new) > STREAM_CHANNELS:
            raise TooManyChannels(field="channel_ids", limit=STREAM_CHANNELS)
        await self._attach([Start(standing, standing.joined_seq) for standing in new])

    async def _attach(self, plan: list[Start]) -> None:
        hub = self._shared.hub
        for standing, after, missed in plan:
            hub.attach(
                self._subscriber,
                standing.channel_id,
                epoch=standing.epoch,
                last_seq=standing.last_seq,
                next_seq=after + 1,
                missed=missed,
            )
        await hub.check([standing.channel_id for standing, _, _ in plan])

    def _standings(self, wish: Wish) -> Callable[[Unit], list[Standing]]:
        """Reads those of the wished channels of which the caller is a member."""
        history, user_id = self._shared.history, self._user_id
        if wish.follows:
            return lambda unit: history.standings(unit, user_id, STREAM_CHANNELS + 1)
        wanted = {*wish.channel_ids, *wish.cursors}
        return lambda unit: history.standings_among(unit, user_id, wanted)

    def _token(self) -> str:
        positions = (
            (ring.channel_id, *position.seen())
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
