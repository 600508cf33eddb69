"""Reads of the hot paths: where channels stand, their messages, their read marks."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from server.chat.ring import REPLY_BYTES
from server.chat.rules import Standing
from server.chat.sending import EncodeMessage
from server.chat.statements import Row, Statements
from server.core.db import Database, database
from server.core.fields import microseconds
from server.core.unit import Unit

RECENT_SECONDS = 30
"""Memberships of this time are looked at again and again, so that the news of none is lost; no
transaction that makes one takes as long."""


class StoredMessage(NamedTuple):
    """A message as the database holds it; the time is in microseconds since 1970."""

    message_id: str
    seq: int
    sender_id: str
    client_id: str
    text: str
    create_time: int


class HistoryReader:
    """The reads, on whichever database is open. Those that take a unit run inside it."""

    def __init__(
        self,
        store: Database,
        statements: Statements,
        *,
        encode_message: EncodeMessage,
        encode_event: Callable[[str, int, int, bytes], bytes],
    ) -> None:
        self._store = store
        self._sql = statements
        self._encode_message = encode_message
        self._encode_event = encode_event

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

    def read_marks(
        self, _unit: Unit, channel_ids: Collection[str]
    ) -> list[tuple[str, int, str, int]]:
        """Channel, epoch, user and number of all read marks in the channels."""
        if not channel_ids:
            return []
        parameters = self._sql.parameters([(channel_id,) for channel_id in channel_ids])
        return [tuple(row) for row in self._rows(self._sql.read_marks, parameters)]

    # What the hub asks for, each in a unit of its own.

    async def heads(self, channel_ids: list[str]) -> list[tuple[str, int, int]]:
        """Id, epoch and newest number of each channel."""
        parameters = self._sql.parameters([(channel_id,) for channel_id in channel_ids])

        def work(_unit: Unit) -> list[tuple[str, int, int]]:
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
            for message_id, seq, sender_id, client_id, text, create_time in rows:
                frame = self._encode_event(
                    channel_id,
                    epoch,
                    seq,
                    self._encode_message(
                        message_id, channel_id, seq, sender_id, client_id, text, create_time
                    ),
                )
                size += len(frame)
                if frames and size > REPLY_BYTES:
                    break
                frames.append(frame)
            return (rows[0][1] if rows else after + 1), frames

        return await self._store.run(work, write=False)

    async def recent_members(self) -> list[tuple[str, str]]:
        """Channel and user of the memberships that were made lately."""

        def work(unit: Unit) -> list[tuple[str, str]]:
            since = microseconds(unit.now) - RECENT_SECONDS * 1_000_000
            return [tuple(row) for row in self._rows(self._sql.recent_members, (since,))]

        return await self._store.run(work, write=False)
