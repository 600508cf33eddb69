"""Reads of the hot paths: where channels stand, their messages, their read marks."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

from server.chat.changes import Change
from server.chat.message import EncodeMessage, Rest, StoredMessage
from server.chat.models import Channel, Departure, Member
from server.chat.ring import REPLY_BYTES
from server.chat.rules import Standing
from server.chat.statements import Row, Statements
from server.core.cache import VersionedCache
from server.core.db import Database, database
from server.core.fields import microseconds
from server.core.unit import Unit

RECENT_SECONDS = 30
"""Memberships of this time are looked at again and again, so that the news of none is lost; no
transaction that makes one takes as long."""
PAGE_BYTES = 32 << 20
"""So much memory the pages take that are kept for whoever reads them next."""
ENTRY_BYTES = 600
"""What a page takes beside its messages."""


class Mark(NamedTuple):
    """How far a member of a channel has come."""

    channel_id: str
    epoch: int
    user_id: str
    read_seq: int
    delivered_seq: int
    unread_from_seq: int


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of one page as they stand in the reply of ListMessages, the number of the last one, and
    whether there are more."""

    messages: bytes
    last_seq: int
    more: bool


EncodePage = Callable[[str, Sequence[StoredMessage]], bytes]
"""Channel, messages; returns the field ``messages`` of the reply."""


@dataclass(frozen=True, slots=True)
class EventEncoder:
    """Makes the frames of what is read."""

    message: Callable[[str, int, int, bytes], bytes]
    """Channel, epoch, number, encoded message."""
    changed: Callable[[str, int, int, bytes], bytes]
    """Channel, epoch, change, encoded message."""
    channel: Callable[[Channel, int], bytes]
    """Channel, change."""
    member: Callable[[str, int, int, str, str], bytes]
    """Channel, epoch, change, user, role; no role for those who have left."""


class HistoryReader:
    """The reads, on whichever database is open. Those that take a unit run inside it."""

    def __init__(
        self,
        store: Database,
        statements: Statements,
        *,
        encode_message: EncodeMessage,
        encode_page: EncodePage,
        events: EventEncoder,
    ) -> None:
        self._store = store
        self._sql = statements
        self._encode_message = encode_message
        self._encode_page = encode_page
        self._pages: VersionedCache[Page] = VersionedCache(PAGE_BYTES)
        self._events = events

    def _rows(self, sql: str, parameters: tuple[Any, ...]) -> list[Row]:
        return self._sql.rows(database.execute_sql(sql, parameters))

    def standing(self, _unit: Unit, user_id: str, channel_id: str) -> Standing | None:
        """The channel, if the user is a member of it."""
        rows = self._rows(self._sql.standing, (channel_id, user_id))
        return Standing(*rows[0]) if rows else None

    def standings(self, _unit: Unit, user_id: str, limit: int) -> list[Standing]:
        """The channels of a user."""
        return [Standing(*row) for row in self._rows(self._sql.standings, (user_id, limit))]

    def standings_among(
        self, _unit: Unit, user_id: str, channel_ids: Collection[str]
    ) -> list[Standing]:
        """Those of the channels of which the user is a member."""
        if not channel_ids:
            return []
        rows = self._sql.parameters([(channel_id,) for channel_id in channel_ids])
        return [Standing(*row) for row in self._rows(self._sql.standings_among, (user_id, *rows))]

    def before(self, _unit: Unit, channel_id: str, seq: int, limit: int) -> list[StoredMessage]:
        """The newest messages before a number, newest first.

        Numbers have no gaps, so a range is as good as a LIMIT, and no planner can misjudge it.
        """
        rows = self._rows(self._sql.newest_before, (channel_id, seq, seq - limit))
        return [StoredMessage(*row) for row in rows]

    def after(
        self, _unit: Unit, channel_id: str, seq: int, last_seq: int, limit: int
    ) -> list[StoredMessage]:
        """The oldest messages after a number, up to ``last_seq``."""
        rows = self._rows(self._sql.oldest_after, (channel_id, seq, min(last_seq, seq + limit)))
        return [StoredMessage(*row) for row in rows]

    def read_marks(self, _unit: Unit, channel_ids: Collection[str]) -> list[Mark]:
        """How far the members of the channels have come, so far as they have."""
        if not channel_ids:
            return []
        parameters = self._sql.parameters([(channel_id,) for channel_id in channel_ids])
        return [Mark(*row) for row in self._rows(self._sql.read_marks, parameters)]

    def changed(self, _unit: Unit, channel_id: str, after: int, limit: int) -> list[StoredMessage]:
        """The messages changed after a change, in the order of their changes."""
        rows = self._rows(self._sql.changed, (channel_id, after, limit))
        return [StoredMessage(*row) for row in rows]

    def changes_after(
        self, unit: Unit, channel_id: str, epoch: int, after: int, limit: int
    ) -> list[Change]:
        """What has changed after a change, as it is now, in the order of the changes."""
        events = self._events
        found = []
        for stored in self.changed(unit, channel_id, after, limit):
            encoded = self._encode_message(stored.message_id, channel_id, *stored[1:])
            change = Rest(*stored.rest or ("",)).change
            frame = events.changed(channel_id, epoch, change, encoded)
            event = events.message(channel_id, epoch, stored.seq, encoded)
            found.append(Change(change, "message", stored.message_id, frame, stored.seq, event))
        for table in (Member, Departure):
            rows = (
                table.select()
                .where((table.channel_id == channel_id) & (table.change > after))
                .order_by(table.change)
                .limit(limit)
            )
            for row in rows:
                role = row.role if isinstance(row, Member) else ""
                frame = events.member(channel_id, epoch, row.change, row.user_id, role)
                found.append(Change(row.change, "member", row.user_id, frame))
        channel = Channel.get_or_none((Channel.id == channel_id) & (Channel.info_change > after))
        if channel is not None:
            frame = events.channel(channel, channel.info_change)
            found.append(Change(channel.info_change, "channel", "", frame))
        return sorted(found, key=attrgetter("change"))[:limit]

    async def page(
        self,
        standing: Standing,
        seq: int,
        size: int,
        *,
        newest_first: bool,
        deadline: float | None = None,
    ) -> Page:
        """The messages before a number, or those after it, none of them newer than ``standing``.

        Whatever is said or changed in a channel moves where it stands, so a page of the same standing
        is the same page, and is read and encoded once for all members.
        """
        state = (standing.channel_id, standing.epoch, standing.last_seq, standing.last_change)
        key = (*state, standing.history_start_seq, seq, size, newest_first)
        page = self._pages.get(key)
        if page is None:
            page = await self._store.run(
                lambda unit: self._read_page(unit, standing, seq, size, newest_first),
                write=False,
                deadline=deadline,
            )
            self._pages.put(key, page, len(page.messages) + ENTRY_BYTES)
        return page

    def _read_page(
        self, unit: Unit, standing: Standing, seq: int, size: int, newest_first: bool
    ) -> Page:
        channel_id = standing.channel_id
        if newest_first:
            found = self.before(unit, channel_id, seq, size + 1)
        else:
            found = self.after(unit, channel_id, seq, standing.last_seq, size + 1)
        kept = found[:size]
        last_seq = kept[-1].seq if kept else 0
        return Page(self._encode_page(channel_id, kept), last_seq, len(found) > size)

    async def standings_of(
        self, asked: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], Standing]:
        """Of channels and users: where the channel stands, if the user is a member of it."""
        parameters = self._sql.parameters(list(asked))

        def work(_unit: Unit) -> dict[tuple[str, str], Standing]:
            rows = self._rows(self._sql.standings_of, parameters)
            return {(row[0], user_id): Standing(*row) for user_id, *row in rows}

        return await self._store.run(work, write=False)

    # What the hub asks for, each in a unit of its own.

    async def heads(self, channel_ids: list[str]) -> list[tuple[str, int, int, int]]:
        """Id, epoch, newest number and newest change of each channel."""
        parameters = self._sql.parameters([(channel_id,) for channel_id in channel_ids])

        def work(_unit: Unit) -> list[tuple[str, int, int, int]]:
            return [tuple(row) for row in self._rows(self._sql.heads, parameters)]

        return await self._store.run(work, write=False)

    async def frames(
        self, channel_id: str, epoch: int, after: int, limit: int
    ) -> tuple[int, list[bytes]]:
        """The events of the messages after a number: the first one's number, and all encoded.

        At most ``limit`` of them, and no more than make about 64 KiB.
        """

        def work(_unit: Unit) -> tuple[int, list[bytes]]:
            rows = self._rows(self._sql.history_after, (channel_id, after, limit, REPLY_BYTES))
            frames: list[bytes] = []
            size = 0
            for message_id, seq, *more in rows:
                encoded = self._encode_message(message_id, channel_id, seq, *more)
                frame = self._events.message(channel_id, epoch, seq, encoded)
                size += len(frame)
                if frames and size > REPLY_BYTES:
                    break
                frames.append(frame)
            return (rows[0][1] if rows else after + 1), frames

        return await self._store.run(work, write=False)

    async def changes(self, channel_id: str, epoch: int, after: int, limit: int) -> list[Change]:
        """As :meth:`changes_after`, of one moment: between two looks at different tables a change could
        be passed over."""
        return await self._store.run(
            lambda unit: self.changes_after(unit, channel_id, epoch, after, limit),
            write=False,
            serializable=True,
        )

    async def recent_departures(self) -> list[tuple[str, str]]:
        """Channel and user of the memberships that ended lately."""

        def work(unit: Unit) -> list[tuple[str, str]]:
            since = microseconds(unit.now) - RECENT_SECONDS * 1_000_000
            return [tuple(row) for row in self._rows(self._sql.recent_departures, (since,))]

        return await self._store.run(work, write=False)

    async def recent_members(self) -> list[tuple[str, str]]:
        """Channel and user of the memberships that were made lately."""

        def work(unit: Unit) -> list[tuple[str, str]]:
            since = microseconds(unit.now) - RECENT_SECONDS * 1_000_000
            return [tuple(row) for row in self._rows(self._sql.recent_members, (since,))]

        return await self._store.run(work, write=False)
