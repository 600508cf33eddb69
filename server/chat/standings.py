"""Where channels stand, asked for by many calls at once and read for all of them by one statement."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

from server.chat.rules import Standing

BATCH_LIMIT = 256
"""Calls that one statement answers. Larger ones gain nothing and make all of them wait."""

QUIET_SECONDS = 0.00003
QUIET_TURNS = 3
"""The loop has nothing to do when so many of its turns in a row take no longer than this."""
LONGEST_WAIT_SECONDS = 0.01
"""Nobody waits longer than this for the next statement."""

Asked = tuple[str, str]
"""Channel and user."""
Read = Callable[[Collection[Asked]], Awaitable[Mapping[Asked, Standing]]]


class Standings:
    """Gathers what is asked for while a statement is on its way, and asks it all by the next one."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: list[tuple[Asked, asyncio.Future[Standing | None]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def of(self, user_id: str, channel_id: str) -> Standing | None:
        """The channel as it stands, if the user is a member of it. Whatever was committed before this
        was called is seen: it waits for a statement that is sent after that."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Standing | None] = self._loop.create_future()
        self._waiting.append(((channel_id, user_id), future))
        if self._reading is None:
            self._reading = self._loop.create_task(self._answer())
        return await future

    async def _answer(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:BATCH_LIMIT], self._waiting[BATCH_LIMIT:]
                await self._settle([each for each in group if not each[1].done()])
                if self._waiting:
                    await _quiet()
        finally:
            self._reading = None

    async def _settle(self, group: list[tuple[Asked, "asyncio.Future[Standing | None]"]]) -> None:
        try:
            found = await self._read({asked for asked, _ in group}) if group else {}
        except Exception as error:
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
        else:
            for asked, future in group:
                if not future.done():
                    future.set_result(found.get(asked))


async def _quiet() -> None:
    """Returns once the loop has nothing else to do, or after a while. A statement beside a loop that is busy
    costs both of them: with each change of threads, as much as several calls."""
    turns, now = 0, time.perf_counter()
    end = now + LONGEST_WAIT_SECONDS
    while turns < QUIET_TURNS and now < end:
        await asyncio.sleep(0)
        before, now = now, time.perf_counter()
        turns = turns + 1 if now - before < QUIET_SECONDS else 0
