"""How processes wake each other: small messages that may be lost, because the database is the truth."""

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

Listener = Callable[[bytes], object]
Unsubscribe = Callable[[], None]


class Bus(Protocol):
    """Topics of small byte messages, delivered at most once, to every process that listens."""

    @property
    def is_shared(self) -> bool:
        """True when other processes hear what this one publishes."""
        ...

    async def start(self) -> None:
        """Begins to deliver."""
        ...

    async def close(self) -> None:
        """Stops; what has not been delivered is lost."""
        ...

    def publish(self, topic: str, payload: bytes) -> None:
        """Sends from any thread without waiting. The own process hears it too."""
        ...

    def subscribe(self, topic: str, listener: Listener) -> Unsubscribe:
        """Has ``listener`` called on the loop's thread; returns what ends that. On the loop only."""
        ...

    def on_gap(self, listener: Callable[[], object]) -> None:
        """Has ``listener`` called on the loop's thread after messages may have been lost."""
        ...


class Topics:
    """The listeners of one process, by topic. Used on the loop's thread only."""

    def __init__(self) -> None:
        self._listeners: defaultdict[str, dict[object, Listener]] = defaultdict(dict)

    def add(self, topic: str, listener: Listener) -> Unsubscribe:
        """Returns what removes this subscription, and no other of the same listener."""
        ticket = object()
        self._listeners[topic][ticket] = listener

        def remove() -> None:
            listeners = self._listeners.get(topic)
            if listeners and listeners.pop(ticket, None) is not None and not listeners:
                del self._listeners[topic]

        return remove

    @property
    def names(self) -> list[str]:
        """Topics that somebody listens to."""
        return list(self._listeners)

    def deliver(self, topic: str, payload: bytes) -> None:
        """Calls the listeners of a topic; the exception of one is logged and stops no other."""
        for listener in tuple(self._listeners.get(topic, {}).values()):
            try:
                listener(payload)
            except Exception:
                logger.exception("a listener of the bus topic %s failed", topic)


class MemoryBus:
    """The bus of a single process.

    A burst of messages from other threads costs one wake-up of the loop, not one for each.
    """

    is_shared = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._topics = Topics()
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, bytes]] = []
        self._closed = False

    async def start(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """Delivers nothing any more."""
        self._closed = True

    def publish(self, topic: str, payload: bytes) -> None:
        """Takes a message; listeners hear it in the loop's next turn."""
        with self._lock:
            if self._closed:
                return
            self._waiting.append((topic, payload))
            if len(self._waiting) > 1:
                return
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            self._closed = True  # The loop is closed: nobody listens any more.

    def subscribe(self, topic: str, listener: Listener) -> Unsubscribe:
        """Has ``listener`` called with every payload of the topic from now on."""
        return self._topics.add(topic, listener)

    def on_gap(self, listener: Callable[[], object]) -> None:
        """A process does not lose messages to itself."""

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        if self._closed:
            return
        for topic, payload in waiting:
            self._topics.deliver(topic, payload)


def open_bus(url: str, loop: asyncio.AbstractEventLoop) -> Bus:
    """The bus that the setting BUS_URL names: ``memory://``, or Redis/Valkey for the rest."""
    if url.startswith("memory:"):
        return MemoryBus(loop)
    from server.core.bus_redis import RedisBus

    return RedisBus(url, loop)
