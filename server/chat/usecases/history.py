"""Reading what was said."""

from dataclasses import dataclass
from typing import NamedTuple

from server.chat.errors import ChannelNotFound
from server.chat.history import HistoryReader
from server.chat.rules import Standing
from server.chat.standings import Standings
from server.core.pagination import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Pages


class HistoryQuery(NamedTuple):
    """Which messages are listed: those after ``after_seq``, oldest first, those around ``around_seq`` (0
    stands for none), oldest first, or those before ``before_seq`` (0 stands for the end), newest first."""

    channel_id: str
    before_seq: int
    after_seq: int | None
    around_seq: int
    page_size: int
    page_token: str

    def scope(self, user_id: str) -> str:
        """What a page token of this list is bound to."""
        ends = f"{self.before_seq}|{self.after_seq}|{self.around_seq}"
        return f"chat.messages|{user_id}|{self.channel_id}|{ends}"


class HistoryPage(NamedTuple):
    """Messages of one page, and where the channel stood when it was read."""

    messages: bytes
    """Encoded, as they stand in the reply."""
    next_page_token: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class HistoryDesk:
    """What reading a history needs."""

    standings: Standings
    history: HistoryReader
    pages: Pages


async def list_messages(
    desk: HistoryDesk, user_id: str, query: HistoryQuery, deadline: float | None
) -> HistoryPage:
    """One page of a channel's history. The channel is read first, and nothing newer is listed: from its
    cursor on a stream has all that this page has not."""
    pages = desk.pages
    standing = await desk.standings.of(user_id, query.channel_id)
    if standing is None:
        raise ChannelNotFound
    size = min(query.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    scope = query.scope(user_id)
    position = pages.position(query.page_token, scope)[0] if query.page_token else None
    if query.after_seq is not None:
        seq = max(query.after_seq if position is None else position, standing.history_start_seq)
    elif query.around_seq:
        first = max(query.around_seq - size // 2 - 1, standing.history_start_seq)
        seq = first if position is None else position
    else:
        end = min(query.before_seq or standing.last_seq + 1, standing.last_seq + 1)
        seq = end if position is None else position
    newest_first = query.after_seq is None and not query.around_seq
    page = await desk.history.page(
        standing, seq, size, newest_first=newest_first, deadline=deadline
    )
    token = pages.token([page.last_seq], scope) if page.more else ""
    return HistoryPage(page.messages, token, standing)
