"""What a client has missed: from positions to what is new since, a bounded piece at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple, cast

import orjson

from server.chat.deltas import DeltaReader, MemberNews, Range
from server.chat.history import RECENT_SECONDS
from server.chat.message import Rest, StoredMessage
from server.chat.models import Channel, Member, ReadMark
from server.chat.rules import STREAM_CHANNELS, Cursor, Resumed
from server.chat.usecases.channel_views import ChannelView, views_of
from server.core.fields import microseconds
from server.core.unit import Unit

DEFAULT_NEWEST = 20
"""Messages that a channel brings along that is new."""
REPLY_BYTES = 768 * 1024
"""Where a reply stops to take up more; what comes with it makes about 1 MiB of that."""
REPLY_CHANNELS = 200
REPLY_MESSAGES = 1_000
REPLY_CHANGES = 2_500
AT_ONCE = 250
"""Numbers that are read with one statement: of the largest messages they make 4 MiB."""
MOST_CHANGES = 2_000
"""A channel with more of them since begins anew."""
MOST_MARKS = 10_000
_MICROS = 1_000_000


class MarkNews(NamedTuple):
    """How far a member of a channel has come."""

    channel_id: str
    user_id: str
    read_seq: int
    delivered_seq: int
    unread_from_seq: int | None


@dataclass(slots=True)
class News:
    """What is new in a channel."""

    channel_id: str
    reset: bool = False
    messages: list[StoredMessage] = field(default_factory=list)
    changed: list[StoredMessage] = field(default_factory=list)
    members: list[MemberNews] = field(default_factory=list)
    marks: list[MarkNews] = field(default_factory=list)
    cursor: tuple[int, int, int] = (0, 0, 0)
    """Epoch, number and change at which the client stands now."""
    view: ChannelView | None = None
    """``None`` when nothing is new but the marks of others."""


@dataclass(frozen=True, slots=True)
class SyncPage:
    """A piece of what is new."""

    news: list[News]
    left: list[str]
    positions: list[tuple[str, int, int, int]]
    """Channel, epoch, number and change of each channel of which the client knows now."""
    since: int | None
    """When the marks were read that the client has, in seconds since 1970; ``None`` for just now."""

    @property
    def has_more(self) -> bool:
        """True when this is not all."""
        return self.since is not None


class _Standing(NamedTuple):
    channel_id: str
    epoch: int
    last_seq: int
    history_start_seq: int
    last_change: int
    own_update: datetime


class _Step:
    """How far one channel has been told."""

    __slots__ = ("change", "cursor", "known", "news", "reset", "seq", "shown", "standing")

    def __init__(self, standing: _Standing, cursor: Cursor | None, newest: int) -> None:
        self.standing = standing
        self.cursor = cursor
        self.reset = cursor is None or _has_to_begin_anew(standing, cursor)
        if cursor is None or cursor.change is None or self.reset:
            self.seq = max(standing.last_seq - newest, standing.history_start_seq)
            self.change = standing.last_change
        else:
            self.seq, self.change = cursor.seq, cursor.change
        self.known = self.seq
        """The client has the messages up to here already."""
        self.news: News | None = None
        self.shown = False
        """True when the channel as it is now goes along."""

    @property
    def is_due(self) -> bool:
        """True when something is left to be told."""
        return (self.reset and self.news is None) or self._is_behind

    @property
    def _is_behind(self) -> bool:
        return self.seq < self.standing.last_seq or self.change < self.standing.last_change

    def tell(self, *, shown: bool = True) -> News:
        """What is told of the channel."""
        if self.news is None:
            self.news = News(self.standing.channel_id, self.reset)
        self.shown = self.shown or shown
        return self.news

    def position(self) -> tuple[str, int, int, int] | None:
        """Where the client stands; ``None`` when it does not know the channel yet."""
        channel_id = self.standing.channel_id
        if self.news is not None or not self.reset:
            return channel_id, self.standing.epoch, self.seq, self.change
        if self.cursor is None or self.cursor.change is None:
            return None
        return channel_id, self.cursor.epoch, self.cursor.seq, self.cursor.change


class _Budget:
    """How much a reply still takes."""

    def __init__(self) -> None:
        self._left = REPLY_BYTES

    def takes(self, size: int) -> bool:
        """Takes something, unless the reply is full. It always takes the first thing."""
        if self._left <= 0:
            return False
        self._left -= size
        return True


def sync_channels(
    unit: Unit, deltas: DeltaReader, user_id: str, resumed: Resumed | None, newest: int
) -> SyncPage:
    """The next piece of what is new since a token, or of everything without one.

    First what has changed, then new messages: what a client is told as new is told as it is now, with all
    changes. The unit has to see one state of the database in all its statements.
    """
    positions: Mapping[str, Cursor] = {} if resumed is None else resumed.positions
    standings = _standings(user_id)
    steps = [
        _Step(standing, positions.get(standing.channel_id), newest or DEFAULT_NEWEST)
        for standing in standings
    ]
    due = [step for step in steps if step.is_due][:REPLY_CHANNELS]
    budget = _Budget()
    if _tell_changes(unit, deltas, due, budget):
        _tell_messages(unit, deltas, due, budget)
    complete = not any(step.is_due for step in steps)
    _tell_marks(unit, user_id, steps, resumed, complete=complete)
    since = None
    if not complete:
        since = microseconds(unit.now) // _MICROS if resumed is None else resumed.made
    told = [step.position() for step in steps]
    return SyncPage(
        _news(unit, user_id, steps),
        _left(user_id, positions, {standing.channel_id for standing in standings}),
        [position for position in told if position is not None],
        since,
    )


def _standings(user_id: str) -> list[_Standing]:
    """The user's channels, those with the newest messages first."""
    rows = (
        Member.select(
            Channel.id,
            Channel.epoch,
            Channel.last_seq,
            Channel.history_start_seq,
            Channel.last_change,
            Member.update_time,
        )
        .join(Channel, on=(Channel.id == Member.channel_id))
        .where(Member.user_id == user_id)
        .order_by(Channel.update_time.desc(), Channel.id.desc())
        .limit(STREAM_CHANNELS)
        .tuples()
    )
    found = cast("list[tuple[str, int, int, int, int, datetime]]", list(rows))
    return [_Standing(*row) for row in found]


def _has_to_begin_anew(standing: _Standing, cursor: Cursor) -> bool:
    if cursor.change is None or cursor.epoch != standing.epoch:
        return True
    if not standing.history_start_seq <= cursor.seq <= standing.last_seq:
        return True
    return not 0 <= standing.last_change - cursor.change <= MOST_CHANGES


def _left(user_id: str, positions: Collection[str], standing: Collection[str]) -> list[str]:
    """The channels of the token of which the user is no member any more."""
    missing = [channel_id for channel_id in positions if channel_id not in standing]
    if not missing:
        return []
    mine = Member.select(Member.channel_id).where(
        (Member.user_id == user_id) & Member.channel_id.in_(missing)
    )
    kept = {row.channel_id for row in mine}
    return [channel_id for channel_id in missing if channel_id not in kept]


class _Chunk(NamedTuple):
    """What is read at once: a step and its range, for each of some channels."""

    steps: list[_Step]
    ranges: list[Range]


def _chunks(parts: Sequence[tuple[_Step, int, int]], most: int) -> Iterator[_Chunk]:
    """Cuts the ranges of numbers of channels into pieces that are read at once, ``most`` numbers in all."""
    left = most
    chunk = _Chunk([], [])
    room = min(AT_ONCE, left)
    for step, after, last in parts:
        while after < last and left:
            upto = min(last, after + room)
            chunk.steps.append(step)
            chunk.ranges.append(Range(step.standing.channel_id, after, upto))
            room -= upto - after
            left -= upto - after
            after = upto
            if not room:
                yield chunk
                chunk = _Chunk([], [])
                room = min(AT_ONCE, left)
    if chunk.steps:
        yield chunk


def _tell_changes(unit: Unit, deltas: DeltaReader, due: list[_Step], budget: _Budget) -> bool:
    """Tells what has changed; true when that is all told."""
    parts = [(step, step.change, step.standing.last_change) for step in due if not step.reset]
    for steps, ranges in _chunks(parts, REPLY_CHANGES):
        found: list[tuple[int, int, StoredMessage | MemberNews]] = [
            (place, Rest(*message.rest or ("",)).change, message)
            for place, message in deltas.changed(unit, ranges)
        ]
        found += [(news.place, news.change, news) for news in deltas.members(unit, ranges)]
        for place, change, what in sorted(found, key=itemgetter(0, 1)):
            step = steps[place]
            if isinstance(what, StoredMessage) and what.seq > step.known:
                continue  # It comes as a new message.
            if not budget.takes(_size(what)):
                _stop(steps[:place], ranges)
                step.change = change - 1
                return False
            if isinstance(what, StoredMessage):
                step.tell().changed.append(what)
            else:
                step.tell().members.append(what)
        _stop(steps, ranges)
    return all(step.change >= step.standing.last_change for step in due)


def _stop(steps: list[_Step], ranges: list[Range]) -> None:
    """All changes of these ranges are told."""
    for step, part in zip(steps, ranges, strict=False):
        step.tell()
        step.change = part.upto


def _tell_messages(unit: Unit, deltas: DeltaReader, due: list[_Step], budget: _Budget) -> None:
    parts = [(step, step.seq, step.standing.last_seq) for step in due]
    for step in due:
        if step.seq == step.standing.last_seq and budget.takes(_SIZE_OF_VIEW):
            step.tell()
    for steps, ranges in _chunks(parts, REPLY_MESSAGES):
        for place, message in deltas.messages(unit, ranges):
            step = steps[place]
            if not budget.takes(_size(message)):
                return
            step.tell().messages.append(message)
            step.seq = message.seq
        for step, part in zip(steps, ranges, strict=True):
            step.tell()
            step.seq = part.upto


_SIZE_OF_VIEW = 1_000


def _size(what: StoredMessage | MemberNews) -> int:
    """About how many bytes it takes."""
    if isinstance(what, MemberNews):
        return 50
    rest = 0 if what.rest is None else len(orjson.dumps(what.rest))
    return 250 + len(what.text.encode()) + rest


def _tell_marks(
    unit: Unit, user_id: str, steps: list[_Step], resumed: Resumed | None, *, complete: bool
) -> None:
    """Marks go by time. Of channels that begin anew all are told; of the others those that have moved
    since the token was made, with the last piece only, so that no time is passed over."""
    new = {step.standing.channel_id: step for step in steps if step.reset and step.news is not None}
    rows = _marks(list(new), since=0)
    if complete and resumed is not None:
        old = {s.standing.channel_id: s for s in steps if s.standing.channel_id not in new}
        since = (resumed.made - RECENT_SECONDS) * _MICROS
        if resumed.made * _MICROS > microseconds(unit.now) + RECENT_SECONDS * _MICROS:
            since = 0  # The clock was put back: what it says of the past is not to be relied on.
        rows += _marks(list(old), since=since)
        for step in old.values():
            if microseconds(step.standing.own_update) >= since:
                step.tell()
        new |= old
    for mark in rows:
        new[mark.channel_id].tell(shown=mark.user_id == user_id).marks.append(mark)


def _marks(channel_ids: list[str], *, since: int) -> list[MarkNews]:
    """The marks of the members that have moved since a time, in microseconds since 1970."""
    if not channel_ids:
        return []
    same = (Member.channel_id == ReadMark.channel_id) & (Member.user_id == ReadMark.user_id)
    rows = (
        ReadMark.select(
            ReadMark.channel_id,
            ReadMark.user_id,
            ReadMark.last_read_seq,
            ReadMark.last_delivered_seq,
            ReadMark.unread_from_seq,
        )
        .join(Member, on=same)
        .where(ReadMark.channel_id.in_(channel_ids) & (ReadMark.update_time >= since))
        .order_by(ReadMark.update_time.desc())
        .limit(MOST_MARKS)
        .tuples()
    )
    return [
        MarkNews(*row) for row in cast("list[tuple[str, str, int, int, int | None]]", list(rows))
    ]


def _news(unit: Unit, user_id: str, steps: list[_Step]) -> list[News]:
    """What is told, with the channels as they are."""
    told = [(step, step.news) for step in steps if step.news is not None]
    shown = [step.standing.channel_id for step, _ in told if step.shown]
    views: dict[str, ChannelView] = {}
    if shown:
        channels = list(Channel.select().where(Channel.id.in_(shown)))
        views = {view.channel.id: view for view in views_of(unit, user_id, channels)}
    for step, news in told:
        news.cursor = (step.standing.epoch, step.seq, step.change)
        view = views.get(news.channel_id)
        news.view = None if view is None else replace(view, last_message=None)
    return [news for _, news in told]
