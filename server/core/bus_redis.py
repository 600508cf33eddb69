"""The bus over Redis or Valkey publish/subscribe, and counters that several processes share."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

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
_SILENCE = 5.0
"""Seconds without a word after which the server has to show that it is still there."""
_TOPIC = PREFIX + "topic:"
_GAP = PREFIX + "gap"
"""The channel on which a process that has lost messages tells all the others, and itself."""
_BYPASS_SECONDS = 1.0
"""How long the counters leave Redis alone after it has not answered."""


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
        self._lost = False
        """Whether messages of this process were lost since the last word on the gap channel."""
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
        pending = set(self._tasks)
        while pending:
            # Again and again: redis-py swallows a cancellation that meets a reply.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=0.1)
        self._tasks = []

    def publish(self, topic: str, payload: bytes) -> None:
        """Hands the message to the loop; it leaves when Redis can be reached."""
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody listens any more.
            self._loop.call_soon_threadsafe(self._put, topic, payload)

    def _put(self, topic: str, payload: bytes) -> None:
        try:
            self._outbox.put_nowait((topic, payload))
        except asyncio.QueueFull:
            if not self._lost:
                logger.warning("the bus is away for long: messages of %s are dropped", topic)
            self._lost = True

    def subscribe(self, topic: str, listener: Listener) -> Unsubscribe:
        """Has ``listener`` called with the topic's payloads from now on.

        Redis sends all topics of this prefix to every process, so there is nothing to wait for.
        """
        return self._topics.add(topic, listener)

    def on_gap(self, listener: Callable[[], object]) -> None:
        """Has ``listener`` called when this process was cut off, or another had to drop messages."""
        self._gap_listeners.append(listener)

    async def _receive(self) -> None:
        pause, first = 0.1, True
        while True:
            try:
                async with _client(self._url) as client, client.pubsub() as subscriber:
                    await subscriber.psubscribe(PREFIX + "*")
                    await self._next(subscriber)  # Only the answer proves that it listens.
                    self.connected.set()
                    pause = 0.1
                    if not first:
                        self._tell_gap()
                    while True:
                        self._hear(await self._next(subscriber))
            except (RedisError, OSError) as error:
                logger.warning("the bus is away (%s); trying again", type(error).__name__)
            except Exception:
                logger.exception("the bus failed; trying again")
            finally:
                self.connected.clear()
            first = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)

    async def _next(self, subscriber: Any) -> dict[str, Any]:
        """The next message; ``RedisError`` when the server does not even answer a ping."""
        for ask in (subscriber.ping, None):
            message: dict[str, Any] | None = await subscriber.get_message(timeout=_SILENCE)
            if message is not None:
                return message
            if ask is not None:
                await ask()
        raise RedisTimeoutError("the server has fallen silent")

    def _hear(self, message: dict[str, Any]) -> None:
        if message["type"] != "pmessage":
            return
        channel = message["channel"].decode()
        if channel == _GAP:
            self._tell_gap()
        else:
            self._topics.deliver(channel.removeprefix(_TOPIC), message["data"])

    def _tell_gap(self) -> None:
        for listener in self._gap_listeners:
            try:
                listener()
            except Exception:
                logger.exception("a gap listener failed")

    async def _send(self) -> None:
        while True:
            try:
                async with _client(self._url) as client:
                    await client.ping()
                    while True:
                        await self._send_next(client)
            except (RedisError, OSError):
                await asyncio.sleep(0.2)
            except Exception:
                logger.exception("the bus cannot send; trying again")
                await asyncio.sleep(_LONGEST_PAUSE)

    async def _send_next(self, client: Any) -> None:
        """Sends one message. Whether one arrived is not known when this raises: it is lost."""
        channel, payload = _GAP, b""
        if not self._lost:
            topic, payload = await self._outbox.get()
            channel = _TOPIC + topic
        self._lost = False
        try:
            await client.publish(channel, payload)
        except BaseException:
            self._lost = True
            raise


_TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    "health_check_interval": 5,
}


def _client(url: str, **options: Any) -> Any:
    """A client that raises where it would by itself try again, and connect anew without a word."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(url, **{**_TIMEOUTS, "retry": retry, **options})


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
        self._client = _client(url, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._script = self._client.register_script(_TAKE)
        self._own = MemoryCounters(clock)
        self._clock = clock
        self._complain_at = 0.0
        self._try_at = 0.0

    def take_now(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Counts in this process only."""
        return self._own.take_now(key, rate, cost)

    async def take(self, key: str, rate: Rate, cost: int = 1) -> float:
        """Counts in Redis; 0 when allowed, else the seconds to wait."""
        if self._clock.monotonic() < self._try_at:
            return self._own.take_now(key, rate, cost)
        try:
            reply = await self._script(
                keys=[f"{PREFIX}rate:{key}"], args=[rate.spacing, rate.burst, cost]
            )
        except (RedisError, OSError):
            now = self._clock.monotonic()
            self._try_at = now + _BYPASS_SECONDS
            if now >= self._complain_at:
                self._complain_at = now + 60
                logger.warning("shared counters are away; limits hold per process")
            return self._own.take_now(key, rate, cost)
        return float(reply)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
