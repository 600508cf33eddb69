"""Does something small over and over on the event loop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from server.core.errors import GreenroomError
from server.core.failures import DRIVER_ERRORS

logger = logging.getLogger(__name__)


class Ticker:
    """Awaits ``work`` every ``seconds``. A failure of the database is logged, once until it works
    again, and ends nothing: the next tick tries anew."""

    def __init__(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._seconds = seconds
        self._work = work
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins; to be called on the loop's thread."""
        self._task = asyncio.create_task(self._run(), name=self._name)
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Ends it, in the middle of a tick if need be."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("%s has ended", self._name, exc_info=error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self.tick()

    async def tick(self) -> None:
        """One round, at once."""
        try:
            await self._work()
        except (GreenroomError, *DRIVER_ERRORS):
            if not self._failing:
                logger.warning("%s failed and will be tried again", self._name, exc_info=True)
            self._failing = True
        else:
            self._failing = False
