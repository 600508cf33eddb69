"""The bus over Redis or Valkey publish/subscribe, and counters that several processes share."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

from redis import asyncio as redis
from redis.exceptions import RedisError

from server.core.bus import Listener, Topics, Unsubscribe
from server.core.clock import Clock
from server.core.limits import MemoryCounters
from server.core.rates import Rate

logger = logging.getLogger(__name__)

PREFIX = "greenroom:"
"""Before every topic and key, so that a server can be shared with others."""
MOST_WAITING = 10_000
"""Messages kept while Redis is away; later ones are dropped, and listeners told of a gap."""
_LONGEST_PAUSE = 5.0


class RedisBus:
    """Delivers through Redis; reconnects by itself, and then tells of the gap.

    Messages of the own process go through Redis like all others, so that there is one order.
    """

    is_shared = True

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        self._loop = loop
        self._topics = Topics()
        self._outbox: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MOST_WAITING)
        self._gap_listeners: list[Callable[[], object]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._subscriber: Any = None
        self._changed = asyncio.Event()
        self.connected = asyncio.Event()
        """Set while messages are being received."""

    async def start(self) -> None:
        """Begins to connect; returns when connected, or after two seconds without."""
        self._tasks = [
            self._loop.create_task(self._receive()),
            self._loop.create_task(self._send()),
        ]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.connected.wait()

    async def close(self) -> None:
        """Ends both directions."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def publish(self, topic: str, payload: bytes) -> None:
        """Hands the message to the loop; it leaves when Redis can be reached."""
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody listens any more.
            self._loop.call_soon_threadsafe(self._put, topic, payload)

    def _put(self, topic: str, payload: bytes) -> None:
        try:
            self._outbox.put_nowait((topic, payload))
        except asyncio.QueueFull:
            logger.warning("the bus is away for long: a message of %s is dropped", topic)

    def subscribe(self, topic: str, listener: Listener) -> Unsubscribe:
        """Has ``listener`` called with the topic's payloads, from shortly after this call on."""
        if self._topics.add(topic, listener):
            self._changed.set()

        def unsubscribe() -> None:
            if self._topics.remove(topic, listener):
                self._changed.set()

        return unsubscribe

    def on_gap(self, listener: Callable[[], object]) -> None:
        """Has ``listener`` called after each connection that was not the first."""
        self._gap_listeners.append(listener)

    async def _receive(self) -> None:
        pause, first = 0.1, True
        while True:
            try:
                async with redis.Redis.from_url(self._url, **_TIMEOUTS) as client:
                    await client.ping()
                    pause = 0.1
                    await self._listen(client, first)
            except (RedisError, OSError) as error:
                logger.warning("the bus is away (%s); trying again", type(error).__name__)
            finally:
                self.connected.clear()
            first = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _listen(self, client: Any, first: bool) -> None:
        async with client.pubsub() as subscriber:
            # A topic of our own keeps the subscription alive when nobody listens to any other.
            await subscriber.subscribe(PREFIX + "alive")
            known: set[str] = set()
            self._changed.set()
            while True:
                if self._changed.is_set():
                    self._changed.clear()
                    known = await self._resubscribe(subscriber, known)
                    if not self.connected.is_set():
                        self.connected.set()
                        if not first:
                            self._tell_gap()
                message = await subscriber.get_message(ignore_subscribe_messages=True, timeout=0.05)
                if message is not None:
                    topic = message["channel"].decode().removeprefix(PREFIX)
                    self._topics.deliver(topic, message["data"])

    async def _resubscribe(self, subscriber: Any, known: set[str]) -> set[str]:
        wanted = set(self._topics.names)
        if new := wanted - known:
            await subscriber.subscribe(*(PREFIX + topic for topic in new))
        if old := known - wanted:
            await subscriber.unsubscribe(*(PREFIX + topic for topic in old))
        return wanted

    def _tell_gap(self) -> None:
        for listener in self._gap_listeners:
            try:
                listener()
            except Exception:
                logger.exception("a gap listener failed")

    async def _send(self) -> None:
        while True:
            topic, payload = await self._outbox.get()
            try:
                async with redis.Redis.from_url(self._url, **_TIMEOUTS) as client:
                    while True:
                        await client.publish(PREFIX + topic, payload)
                        topic, payload = await self._outbox.get()
            except (RedisError, OSError):
                # Lost on the way: listeners are told of the gap when the connection is back.
                await asyncio.sleep(0.2)


_TIMEOUTS: dict[str, Any] = {"socket_connect_timeout": 2, "health_check_interval": 5}

_TAKE = """
local idle_at = tonumber(redis.call('GET', KEYS[1]) or '0')
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local spacing, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local base = math.max(idle_at, now)
local wait = base + cost * spacing - burst * spacing - now
if wait > 0.000001 then return tostring(wait) end
local until_idle = base + cost * spacing
redis.call('SET', KEYS[1], string.format('%.6f', until_idle), 'PX',
  math.ceil((until_idle - now) * 1000) + 1)
return '0'
"""


class RedisCounters:
    """The same algorithm in Redis, for all processes; in this process alone while Redis is away."""

    is_shared = True

    def __init__(self, url: str, clock: Clock) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=0.5, **_TIMEOUTS)
        self._script = self._client.register_script(_TAKE)
        self._own = MemoryCounters(clock)
        self._clock = clock
        self._complain_at = 0.0

    def take_now(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Counts in this process only."""
        return self._own.take_now(key, rate, cost)

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Counts in Redis; 0 when allowed, else the seconds to wait."""
        spacing = rate.period / rate.amount
        try:
            reply = await self._script(
                keys=[f"{PREFIX}rate:{key}"], args=[spacing, rate.burst, cost]
            )
        except (RedisError, OSError):
            now = self._clock.monotonic()
            if now >= self._complain_at:
                self._complain_at = now + 60
                logger.warning("shared counters are away; limits hold per process")
            return self._own.take_now(key, rate, cost)
        return float(reply)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
