"""Writes down who is here, tells of it, and hears who is at the other processes."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import orjson

from server.chat.hub import Hub
from server.chat.presence import RENEW_SECONDS, Appearance, Attendance
from server.chat.usecases import presence as rows
from server.chat.usecases.presence import PresenceDoors
from server.core.bus import Bus
from server.core.clock import Clock
from server.core.db import Database
from server.core.errors import GreenroomError
from server.core.ids import new_id

logger = logging.getLogger(__name__)

TOPIC = "chat.presence"
GATHER_SECONDS = 0.05
"""Streams that open within this time are written down together: all of them do when a server starts."""
AT_ONCE = 1_000
"""Users that are written with one transaction."""
TOLD_AT_ONCE = 50
"""Users that one message of the bus tells of."""
TICK_SECONDS = 1.0
COMPARE_SECONDS = 2.0
"""How often a process looks for news that the bus has lost."""
RECENT_SECONDS = 30
"""How far it looks back; no transaction takes as long."""
SWEEP_SECONDS = 5.0
"""How often it looks for processes that have died."""
REMEMBERED = 100_000
"""Users of whom it is remembered what was told last."""

EncodeAppearance = Callable[[str, int, str, bool, int | None], bytes]
"""Channel, epoch, user, online, last time → frame."""


class PresenceKeeper:
    """Keeps the rows of one process in step with its streams. On the loop that serves."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hub: Hub,
        bus: Bus,
        doors: PresenceDoors,
        encode: EncodeAppearance,
    ) -> None:
        self.attendance = Attendance(clock.monotonic)
        self._database = database
        self._clock = clock
        self._hub = hub
        self._bus = bus
        self._doors = doors
        self._encode = encode
        self._process_id = new_id()
        self._told: OrderedDict[str, bool] = OrderedDict()
        self._wakened = asyncio.Event()
        self._turn = asyncio.Lock()
        self._renewed = self._compared = self._swept = clock.monotonic()
        self._lost = False
        self._running: asyncio.Task[None] | None = None
        self._stop_listening: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begins to keep the rows and to listen."""
        self._stop_listening = self._bus.subscribe(TOPIC, self._on_bus)
        self._bus.on_gap(self._on_gap)
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Lets go: the users come to another process in a moment, or are offline."""
        self._stop_listening()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        if self.attendance.written:
            await self._guarded(self._resign())

    # What streams say.

    def opened(self, user_id: str) -> None:
        """A stream of the user is live."""
        self.attendance.opened(user_id)
        self._wakened.set()

    def closed(self, user_id: str) -> None:
        """It is no more."""
        self.attendance.closed(user_id)

    # What is done about it.

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._wakened.wait(), TICK_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                pass
            self._wakened.clear()
            await self._guarded(self.step())

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Lets nothing that is met stop the keeper: what was not done is due still."""
        task = asyncio.get_running_loop().create_task(work)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        error = None if task.cancelled() else task.exception()
        if isinstance(error, GreenroomError):
            logger.warning("who is online could not be written down for now: %s", error)
        elif error is not None:
            logger.error("keeping who is online failed", exc_info=error)

    async def step(self) -> None:
        """Does what is due."""
        async with self._turn:
            await self._write()
            now = self._clock.monotonic()
            if now - self._renewed >= RENEW_SECONDS:
                await self._renew()
                self._renewed = now
            if self._bus.is_shared and (self._lost or now - self._compared >= COMPARE_SECONDS):
                self._lost = False
                await self._compare()
                self._compared = now
            if now - self._swept >= SWEEP_SECONDS:
                await self._sweep()
                self._swept = now

    async def _write(self) -> None:
        attendance = self.attendance
        while True:
            departed = attendance.departures()[:AT_ONCE]
            arrived = attendance.arrivals()[: AT_ONCE - len(departed)]
            if not arrived and not departed:
                return
            work = partial(
                rows.update_presence,
                doors=self._doors,
                process_id=self._process_id,
                arrived=arrived,
                departed=departed,
            )
            update = await self._database.run(work, write=True)
            attendance.wrote(arrived, update.stored)
            attendance.removed(departed)
            self._announce(update.appearances)

    async def _renew(self) -> None:
        attendance = self.attendance
        if not attendance.written:
            return
        renewed = await self._database.run(
            lambda unit: rows.renew_presence(unit, self._process_id), write=True
        )
        if renewed != len(attendance.written):
            # Others have taken this process for dead.
            attendance.doubt()
            await self._write()

    async def _sweep(self) -> None:
        if await self._database.run(rows.is_stale, write=False):
            found = await self._database.run(
                lambda unit: rows.sweep_presence(unit, self._doors), write=True
            )
            self._announce(found)

    async def _compare(self) -> None:
        found = await self._database.run(
            lambda unit: rows.recent_presence(unit, self._doors, RECENT_SECONDS, self._is_news),
            write=False,
        )
        for appearance in found:
            self._show(appearance)

    async def _resign(self) -> None:
        await self._database.run(
            lambda unit: rows.resign(unit, self._doors, self._process_id), write=True
        )

    # What is told of it.

    def _is_news(self, user_id: str, online: bool) -> bool:
        return self._told.get(user_id) is not online

    def _announce(self, found: Sequence[Appearance]) -> None:
        for appearance in found:
            self._show(appearance)
        if self._bus.is_shared:
            for begin in range(0, len(found), TOLD_AT_ONCE):
                told = [tuple(one) for one in found[begin : begin + TOLD_AT_ONCE]]
                self._bus.publish(TOPIC, orjson.dumps((self._process_id, told)))

    def _show(self, appearance: Appearance) -> None:
        user_id, online, last_online, channels, hidden_from = appearance
        self._told[user_id] = online
        self._told.move_to_end(user_id)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        not_for = (user_id, *hidden_from)
        for channel_id, epoch in channels:
            if self._hub.watches(channel_id):
                frame = self._encode(channel_id, epoch, user_id, online, last_online)
                self._hub.note(channel_id, "presence", user_id, frame, not_for=not_for)

    def _on_bus(self, payload: bytes) -> None:
        origin, told = orjson.loads(payload)
        if origin != self._process_id:
            for one in told:
                self._show(Appearance(*one))

    def _on_gap(self) -> None:
        self._lost = True
        self._wakened.set()
