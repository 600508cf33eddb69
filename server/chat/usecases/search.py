"""Looking for messages by their words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

import orjson

from server.chat.errors import ChannelNotFound, QueryEmpty
from server.chat.models import Member, Message
from server.chat.usecases.messages import MessagePage, view_of
from server.core.db import sql
from server.core.fields import microseconds
from server.core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Pages
from server.core.text_search import condition, words
from server.core.unit import Unit

CHANNELS_AT_ONCE = 200
"""Channels that one statement looks into; whoever is in more is answered by several."""
_LAST = 2**62
"""A place and a time after all there are."""

# Both look up nothing but the words of the given channels, and take the newest. On SQLite rows are numbered
# in the order in which they were stored; on PostgreSQL time and id tell it. A message is found only by who
# is a member of its channel in this very statement.
_ALLOWED = """
    EXISTS (SELECT 1 FROM chat_members AS m WHERE m.channel_id = x.channel_id AND m.user_id = ?)
    AND x.delete_time IS NULL AND x.create_time >= ? AND x.create_time < ?
    AND (? = '' OR x.sender_id = ?)
"""
_SQLITE = f"""
    SELECT x.place, '', x.id FROM chat_search AS s CROSS JOIN chat_messages AS x ON x.place = s.rowid
    WHERE s.chat_search MATCH ? AND s.rowid < ?
        AND x.channel_id IN (SELECT value FROM json_each(?)) AND {_ALLOWED}
    ORDER BY s.rowid DESC LIMIT ?
"""  # noqa: S608 - put together of constants, like the next one
_POSTGRESQL = f"""
    SELECT x.create_time, x.id, x.id FROM unnest(?::text[], ?::text[]) AS k(channel_id, query)
    CROSS JOIN LATERAL (
        SELECT x.create_time, x.id FROM chat_messages AS x
        WHERE x.search @@ k.query::tsquery AND x.channel_id = k.channel_id
            AND (x.create_time, x.id) < (?, ?) AND {_ALLOWED}
        ORDER BY x.create_time DESC, x.id DESC LIMIT ?
    ) AS x ORDER BY x.create_time DESC, x.id DESC LIMIT ?
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What is looked for; empty texts and ``None`` stand for no condition."""

    text: str
    channel_id: str
    sender_id: str
    start_time: datetime | None
    end_time: datetime | None
    page_size: int
    page_token: str

    def scope(self, user_id: str) -> str:
        """What a page token of this search is bound to."""
        parts = (user_id, self.channel_id, self.sender_id, *self.span(), self.text)
        return f"chat.search|{'|'.join(map(str, parts))}"

    def span(self) -> tuple[int, int]:
        """The first time that is looked at, and the first one after it that is not."""
        start = 0 if self.start_time is None else microseconds(self.start_time)
        return start, _LAST if self.end_time is None else microseconds(self.end_time)


def search_messages(
    unit: Unit, kind: str, pages: Pages, user_id: str, query: SearchQuery
) -> MessagePage:
    """One page of what was found, newest first; ``kind`` is that of the database."""
    wanted = words(query.text)
    if not wanted:
        raise QueryEmpty
    channel_ids = _channels(user_id, query.channel_id)
    scope = query.scope(user_id)
    position = pages.position(query.page_token, scope) if query.page_token else [_LAST, ""]
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    found: list[Sequence[Any]] = []
    for begin in range(0, len(channel_ids), CHANNELS_AT_ONCE):
        among = channel_ids[begin : begin + CHANNELS_AT_ONCE]
        allowed = (user_id, *query.span(), query.sender_id, query.sender_id)
        search = _search_sqlite if kind == "sqlite" else _search_postgresql
        found += search(among, wanted, position, allowed, size + 1)
    found.sort(key=itemgetter(0, 1), reverse=True)
    token = ""
    if len(found) > size:
        del found[size:]
        token = pages.token(found[-1][:2], scope)
    return MessagePage(tuple(view_of(row) for row in _rows([key for *_, key in found])), token)


def _channels(user_id: str, channel_id: str) -> list[str]:
    mine = Member.select(Member.channel_id).where(Member.user_id == user_id)
    if channel_id:
        mine = mine.where(Member.channel_id == channel_id)
    found = [row.channel_id for row in mine.order_by(Member.channel_id)]
    if channel_id and not found:
        raise ChannelNotFound
    return found


def _search_sqlite(
    among: list[str],
    wanted: list[str],
    position: Sequence[Any],
    allowed: tuple[Any, ...],
    limit: int,
) -> list[Sequence[Any]]:
    match = condition("sqlite", among, wanted)
    keys = orjson.dumps(among).decode()
    return list(sql(_SQLITE, match, position[0], keys, *allowed, limit).fetchall())


def _search_postgresql(
    among: list[str],
    wanted: list[str],
    position: Sequence[Any],
    allowed: tuple[Any, ...],
    limit: int,
) -> list[Sequence[Any]]:
    queries = [condition("postgresql", [channel_id], wanted) for channel_id in among]
    parameters = (among, queries, *position, *allowed, limit, limit)
    return list(sql(_POSTGRESQL, *parameters).fetchall())


def _rows(message_ids: list[str]) -> list[Message]:
    """The messages in this order; without those that were deleted since they were found."""
    rows = {row.id: row for row in Message.select().where(Message.id.in_(message_ids))}
    return [rows[key] for key in message_ids if key in rows and rows[key].delete_time is None]
