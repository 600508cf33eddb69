"""Where channels stand, asked for by many calls at once and read for all of them by one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from server.chat.rules import Standing
from server.core.quiet import until_quiet

BATCH_LIMIT = 256
"""Calls that one statement answers. Larger ones gain nothing and make all of them wait."""

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
                    await until_quiet()
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
