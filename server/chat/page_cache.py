"""Pages of history on their way to subscribers who are behind: each read once, however many want it."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from server.chat.changes import Change
from server.chat.subscriber import Page
from server.core.errors import GreenroomError

logger = logging.getLogger(__name__)

PAGE_EVENTS = 256
"""Events that are read from the database at once; pages end at its multiples, so that subscribers on
their way through the same history come to share them."""
PAGES = 64
"""Pages that are kept, about 64 KiB each, for those who come later through the same history."""

Key = tuple[str, int, int]


class History(Protocol):
    """What the hub reads from the database."""

    async def heads(self, channel_ids: list[str]) -> list[tuple[str, int, int, int]]:
        """Id, epoch, newest number and newest change of each channel."""

    async def changes(self, channel_id: str, epoch: int, after: int, limit: int) -> list[Change]:
        """What has changed after a change, as it is now, in the order of the changes."""

    async def frames(
        self, channel_id: str, epoch: int, after: int, limit: int
    ) -> tuple[int, list[bytes]]:
        """The number of the first event after a position, and the frames from it on, without a gap.

        At most ``limit`` of them and about 64 KiB; none when there are none.
        """

    async def recent_members(self) -> list[tuple[str, str]]:
        """Channel and user of the memberships that were made in the last half minute or so."""

    async def recent_departures(self) -> list[tuple[str, str]]:
        """The same of those that ended."""


class HistoryTasks:
    """Reads that go on whoever stops waiting for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Page] | Coroutine[Any, Any, None]) -> Any:
        """The task of some reading. What it fails with is logged, unless it was foreseen."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, GreenroomError):
            logger.error("reading the history of a channel failed", exc_info=error)

    async def cancel(self) -> None:
        """Ends all."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class PageCache:
    """Reads pages, lets those who want the same one wait for one reading, and keeps the last ones."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._pages: OrderedDict[Key, Page] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[Page]] = {}
        self._tasks = HistoryTasks()

    async def get(self, channel_id: str, epoch: int, position: int) -> Page:
        """The events of a channel from ``position`` on; empty when there are none."""
        key = (channel_id, epoch, position)
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
            return page
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = self._tasks.start(self._read(key))
            reading.add_done_callback(partial(self._read_ended, key))
        return await asyncio.shield(reading)

    def drop(self, channel_id: str) -> None:
        """Forgets a channel's pages, and does not keep those being read: messages have changed."""
        for key in [key for key in self._pages if key[0] == channel_id]:
            del self._pages[key]
        for key in [key for key in self._reading if key[0] == channel_id]:
            del self._reading[key]

    async def close(self) -> None:
        """Ends what is being read."""
        await self._tasks.cancel()

    def _read_ended(self, key: Key, reading: asyncio.Task[Page]) -> None:
        if self._reading.get(key) is reading:
            del self._reading[key]

    async def _read(self, key: Key) -> Page:
        channel_id, epoch, position = key
        limit = PAGE_EVENTS - (position - 1) % PAGE_EVENTS
        first, frames = await self._history.frames(channel_id, epoch, position - 1, limit)
        page = Page(first, first + len(frames), b"".join(frames))
        if len(frames) == limit and self._reading.get(key) is asyncio.current_task():
            # Not cut short by the end of the history, so it will be the same for the next one.
            self._pages[key] = page
            if len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        return page
