"""Where channels stand, asked for by many calls at once and read for all of them by one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from server.chat.rules import Standing

BATCH_LIMIT = 256
"""Calls that one statement answers. Larger ones gain nothing and make all of them wait."""

ANSWER_SECONDS = 0.0003
"""About what the loop takes to answer one call. So long, for each call of a group, the next statement waits:
the loop is busy with that group anyway, and each change of threads costs as much as several calls."""
LONGEST_WAIT_SECONDS = 0.003
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

    async def of(self, user_id: str, channel_id: str) -> Standing | None:
        """The channel as it stands, if the user is a member of it. Whatever was committed before this
        was called is seen: it waits for a statement that is sent after that."""
        future: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((channel_id, user_id), future))
        if self._reading is None:
            self._reading = asyncio.create_task(self._answer())
        return await future

    async def _answer(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:BATCH_LIMIT], self._waiting[BATCH_LIMIT:]
                await self._settle([each for each in group if not each[1].done()])
                if self._waiting:
                    await asyncio.sleep(min(len(group) * ANSWER_SECONDS, LONGEST_WAIT_SECONDS))
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
