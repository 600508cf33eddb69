"""The hub: what this process knows of the channels that somebody watches, and who is told of it.

An event costs one append however many watch its channel. Subscribers who have everything wait in their
ring's ``idle`` set; the first event after that empties the set and flags each of them once. A subscriber
who wrote a moment ago (``server/chat/pace.py``) is woken by the next tick instead, together with all others
in that state, so that they take the same events at the same position and share the joined bytes.

Used on the loop's thread only. The database is the truth: the hub may miss any news and finds out by
:meth:`Hub.check`.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from server.chat.changes import Change
from server.chat.pace import Pace
from server.chat.page_cache import PAGE_EVENTS, History, HistoryTasks, PageCache
from server.chat.ring import Ring
from server.chat.subscriber import Page, Place, Subscriber
from server.core.errors import GreenroomError

logger = logging.getLogger(__name__)

FILL_EVENTS = 1024
"""A larger hole in a ring is not filled: its subscribers read from the database, at their own pace."""
FILL_CHANGES = 256
"""As FILL_EVENTS, for changes; no more than a ring keeps notes."""
REST_SECONDS = 10.0
"""After this time without an event, and with nobody behind, a ring gives its memory back."""


class Timers(Protocol):
    """The part of an event loop that keeps time; in tests it is turned by hand."""

    def time(self) -> float:
        """Seconds that only grow."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> object:
        """Calls at a time."""

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Calls after everything that is ready to run by now."""


class Hub:
    """Rings by channel, subscribers by user."""

    def __init__(
        self, history: History, timers: Timers | None = None, pace: Pace | None = None
    ) -> None:
        self._history = history
        self._timers = timers
        self._rings: dict[str, Ring] = {}
        self._followers: dict[str, set[Subscriber]] = {}
        self._attached: dict[str, set[Subscriber]] = {}
        self._due: list[Subscriber] = []
        self._tick_at = 0.0
        self._pace = pace or Pace()
        self._pages = PageCache(history)
        self._filling: set[Ring] = set()
        self._changing: set[Ring] = set()
        self._tasks = HistoryTasks()

    # What subscribers ask.

    def now(self) -> float:
        """The loop's time."""
        if self._timers is None:
            self._timers = asyncio.get_running_loop()
        return self._timers.time()

    def wrote(self) -> float:
        """A subscriber was given a reply; until when it is not given another one."""
        now = self.now()
        self._pace.wrote(now)
        return now + self._pace.seconds

    def defer(self, subscriber: Subscriber) -> None:
        """Has a subscriber woken by the next tick. Ticks come at multiples of the pace."""
        subscriber.deferred = True
        self._due.append(subscriber)
        if not self._tick_at:
            pace = self._pace.seconds
            self._tick_at = (math.floor(self.now() / pace) + 1) * pace
            assert self._timers is not None
            self._timers.call_at(self._tick_at, self._tick)

    def _tick(self) -> None:
        assert self._timers is not None
        self._tick_at = 0.0
        due, self._due = self._due, []
        for subscriber in due:
            subscriber.deferred = False
            subscriber.hot_until = 0.0
            subscriber.wake()
        # Runs after all those that were woken have begun to write.
        self._timers.call_soon(partial(self._ticked, len(due), self.now()))

    def _ticked(self, replies: int, begun: float) -> None:
        self._pace.ticked(replies, self.now() - begun)

    # Who watches what.

    def subscribe(self, user_id: str) -> Subscriber:
        """A subscriber without channels."""
        return Subscriber(self, user_id)

    def follow(self, subscriber: Subscriber) -> None:
        """Has a subscriber hear of the channels that its user joins."""
        self._followers.setdefault(subscriber.user_id, set()).add(subscriber)

    def attach(self, subscriber: Subscriber, channel_id: str, place: Place) -> None:
        """Lets a subscriber watch a channel from a place on.

        What was stored since the place was read is found by :meth:`check` of this channel, which has to
        follow.
        """
        ring = self._rings.get(channel_id)
        if ring is None:
            ring = self._rings[channel_id] = Ring(channel_id)
            ring.restart(place.epoch, place.last_seq)
            ring.change = ring.known_change = place.last_change
        subscriber.attach(ring, place)
        self._attached.setdefault(subscriber.user_id, set()).add(subscriber)
        self.heard(channel_id, place.epoch, place.last_seq)
        self.touched(channel_id, place.epoch, place.last_change)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Forgets a subscriber, and the rings that nobody else watches."""
        for register in (self._followers, self._attached):
            others = register.get(subscriber.user_id)
            if others is not None:
                others.discard(subscriber)
                if not others:
                    del register[subscriber.user_id]
        for ring in tuple(subscriber.positions):
            self._detach(subscriber, ring)

    def _detach(self, subscriber: Subscriber, ring: Ring) -> None:
        subscriber.detach(ring)
        if not ring.watchers:
            del self._rings[ring.channel_id]

    def watches(self, channel_id: str) -> bool:
        """True when somebody watches the channel, so that its events are worth encoding."""
        return channel_id in self._rings

    # What happens.

    def append(self, channel_id: str, epoch: int, seq: int, sender_id: str, frame: bytes) -> None:
        """A message was stored. May be told of twice, out of order, or not at all."""
        ring = self._rings.get(channel_id)
        if ring is None:
            return
        if epoch != ring.epoch or seq != ring.head + 1:
            self.heard(channel_id, epoch, seq)
            return
        ring.push(frame)
        ring.touched = self.now()
        if ring.notes:
            # Who has sent is not typing any more.
            ring.notes.pop(("typing", sender_id), None)
        if ring.idle:
            self._flag(ring)

    def heard(self, channel_id: str, epoch: int, head: int) -> None:
        """The channel is known to have come to ``head``; what is missing here will be fetched."""
        ring = self._rings.get(channel_id)
        if ring is None or epoch < ring.epoch:
            return
        if epoch > ring.epoch:
            ring.restart(epoch, head)
            self._flag(ring)
        else:
            ring.known = max(ring.known, head)
            if ring.known > ring.head:
                self._fill(ring)

    def touched(self, channel_id: str, epoch: int, change: int) -> None:
        """The channel is known to have come to a change; what is missing here will be fetched."""
        ring = self._rings.get(channel_id)
        if ring is None or epoch != ring.epoch:
            return
        ring.known_change = max(ring.known_change, change)
        if ring.known_change > ring.change and ring not in self._changing:
            self._changing.add(ring)
            self._tasks.start(self._changed(ring))

    def note(
        self,
        channel_id: str,
        kind: str,
        subject: str,
        frame: bytes,
        *,
        rank: int = 0,
        seconds: float = math.inf,
        not_for: Collection[str] = (),
        only_for: str = "",
    ) -> None:
        """Something happened that is no part of the history; only its last value counts.

        A value of a lower ``rank`` than the last one came late and is dropped. It is not sent after
        ``seconds``, nor to the users ``not_for``, and with ``only_for`` to that user alone.
        """
        ring = self._rings.get(channel_id)
        if ring is None:
            return
        expires = self.now() + seconds
        if ring.note(
            kind, subject, frame, rank=rank, expires=expires, not_for=not_for, only_for=only_for
        ):
            self._flag(ring)

    def joined(self, channel_id: str, user_ids: Iterable[str]) -> None:
        """Users became members of a channel: those of them who follow get its events from now on."""
        ring = self._rings.get(channel_id)
        for user_id in user_ids:
            for subscriber in self._followers.get(user_id, ()):
                watched = ring is not None and ring in subscriber.positions
                if not watched and channel_id not in subscriber.joins:
                    subscriber.joins.append(channel_id)
                    subscriber.signal()

    def left(self, channel_id: str, user_ids: Iterable[str]) -> None:
        """Users are no members of a channel any more: their streams lose it, and are told."""
        ring = self._rings.get(channel_id)
        if ring is None:
            return
        for user_id in user_ids:
            for subscriber in tuple(self._attached.get(user_id, ())):
                if ring in subscriber.positions:
                    self._detach(subscriber, ring)
                    subscriber.ended.append((channel_id, ring.epoch))
                    subscriber.signal()

    def user_channels(self, user_id: str) -> set[str]:
        """The channels that streams of a user watch here."""
        return {
            ring.channel_id
            for subscriber in self._attached.get(user_id, ())
            for ring in subscriber.positions
        }

    def _flag(self, ring: Ring) -> None:
        idle, ring.idle = ring.idle, set()
        for subscriber in idle:
            subscriber.flag(ring)

    # What has to be read.

    async def check(self, channel_ids: Iterable[str] | None = None) -> None:
        """Compares the rings (of the given channels, or all) with the database."""
        wanted = list(self._rings) if channel_ids is None else list(channel_ids)
        if wanted:
            for channel_id, epoch, last_seq, last_change in await self._history.heads(wanted):
                self.heard(channel_id, epoch, last_seq)
                self.touched(channel_id, epoch, last_change)

    async def check_all(self) -> None:
        """Heals all lost news: of messages and of memberships. To be called every few seconds."""
        await self.check()
        if self._attached:
            for channel_id, user_id in await self._history.recent_departures():
                self.left(channel_id, (user_id,))
        if self._followers:
            for channel_id, user_id in await self._history.recent_members():
                self.joined(channel_id, (user_id,))
        self._rest()

    def _rest(self) -> None:
        before = self.now() - REST_SECONDS
        for ring in self._rings.values():
            if len(ring) and ring.touched < before and len(ring.idle) == ring.watchers:
                ring.forget_events()

    async def page(self, ring: Ring, position: int) -> Page:
        """The events of a channel from ``position`` on, read from the database."""
        page = await self._pages.get(ring.channel_id, ring.epoch, position)
        if page.following <= page.first:
            # All of it is gone: the stream goes on from the head.
            return Page(ring.head + 1, ring.head + 1, b"")
        return page

    def _fill(self, ring: Ring) -> None:
        """Fetches what the ring lacks. Should that fail, the next check begins it again."""
        if ring.known - ring.head > FILL_EVENTS:
            ring.restart(ring.epoch, ring.known)
            self._flag(ring)
        elif ring not in self._filling:
            self._filling.add(ring)
            self._tasks.start(self._filled(ring))

    async def _filled(self, ring: Ring) -> None:
        try:
            while ring.watchers and ring.known > ring.head:
                epoch = ring.epoch
                first, frames = await self._history.frames(
                    ring.channel_id, epoch, ring.head, PAGE_EVENTS
                )
                if ring.epoch != epoch:
                    continue
                if not frames:
                    ring.restart(epoch, ring.known)
                elif first > ring.head + 1:
                    ring.restart(epoch, first - 1)
                for seq, frame in enumerate(frames, first):
                    if seq == ring.head + 1:
                        ring.push(frame)
                ring.touched = self.now()
                self._flag(ring)
        except GreenroomError as error:
            logger.warning("channel %s is behind for now: %s", ring.channel_id, error)
        finally:
            self._filling.discard(ring)

    async def _changed(self, ring: Ring) -> None:
        """Makes notes of what has changed. Should that fail, the next check begins it again."""
        try:
            while ring.watchers and ring.known_change > ring.change:
                epoch, known = ring.epoch, ring.known_change
                if known - ring.change > FILL_CHANGES:
                    self._pages.drop(ring.channel_id)
                    ring.forget_events()
                    ring.forget_notes()
                    ring.change = known
                else:
                    changes = await self._history.changes(
                        ring.channel_id, epoch, ring.change, FILL_CHANGES
                    )
                    if ring.epoch != epoch:
                        continue
                    self._note_changes(ring, changes, known)
                self._flag(ring)
        except GreenroomError as error:
            logger.warning("channel %s is behind for now: %s", ring.channel_id, error)
        finally:
            self._changing.discard(ring)

    def _note_changes(self, ring: Ring, changes: list[Change], known: int) -> None:
        self._pages.drop(ring.channel_id)
        for entry in changes:
            if entry.seq:
                ring.replace(entry.seq, entry.message)
            ring.note(
                entry.kind,
                entry.key,
                entry.frame,
                rank=entry.change,
                expires=math.inf,
                change=entry.change,
            )
        last = changes[-1].change if changes else known
        ring.change = last if len(changes) == FILL_CHANGES else max(last, known)

    async def close(self) -> None:
        """Ends what is being read."""
        await self._tasks.cancel()
        await self._pages.close()
