"""GetMe's replies, encoded, kept until the user changes."""

import asyncio

from server.auth.events import UserChanged
from server.core.bus import Bus
from server.core.cache import EncodedCache
from server.core.clock import Clock

TOPIC = "auth.users"
"""Bus topic on which processes tell each other which users changed."""


class MeCache:
    """Replies by user id. ``get``, ``begin`` and ``put`` are those of ``EncodedCache``."""

    def __init__(self, clock: Clock, bus: Bus) -> None:
        self._cache = EncodedCache(clock)
        self._bus = bus
        self._loop: asyncio.AbstractEventLoop | None = None
        self.get = self._cache.get
        self.begin = self._cache.begin
        self.put = self._cache.put
        self.drop = self._cache.drop

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to listen to the other processes."""
        self._loop = loop
        self._bus.subscribe(TOPIC, lambda payload: self.drop(payload.decode()))
        self._bus.on_gap(self._cache.clear)

    def on_user_changed(self, event: UserChanged) -> None:
        """Subscriber of the event; in any thread, after the commit. The reply is gone before the
        call that changed the user is answered."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.drop, event.user_id)
        if self._bus.is_shared:
            self._bus.publish(TOPIC, event.user_id.encode())
