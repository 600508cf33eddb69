"""Encoded replies kept in memory: some dropped when what they show changes, some never wrong."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from server.core.clock import Clock

V = TypeVar("V")


class VersionedCache(Generic[V]):
    """The most recently used values, of so many bytes in all. May be used from any thread.

    Nothing is ever dropped for being wrong: whatever a value depends on is a part of its key.
    """

    def __init__(self, size_bytes: int) -> None:
        self._limit = size_bytes
        self._entries: OrderedDict[Hashable, tuple[int, V]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still there."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keeps a value of so many bytes, in place of those that were not asked for longest."""
        with self._lock:
            self._size += size - self._entries.pop(key, (0, value))[0]
            self._entries[key] = (size, value)
            while self._size > self._limit:
                self._size -= self._entries.popitem(last=False)[1][0]


class EncodedCache:
    """The most recently used bytes, with a time to live. Used on the loop's thread only.

    A value that was read from the database before a change and arrives after it must not be kept:
    :meth:`begin` gives a mark before the read, and :meth:`put` with a mark older than the last
    :meth:`drop` of the key is ignored.
    """

    def __init__(self, clock: Clock, *, size: int = 10_000, seconds: float = 60.0) -> None:
        self._now = clock.monotonic
        self._size = size
        self._seconds = seconds
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._dropped: OrderedDict[str, int] = OrderedDict()
        self._turn = 0
        self._floor = 0

    def get(self, key: str) -> bytes | None:
        """The value, unless it is too old or not there."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._now():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def begin(self) -> int:
        """A mark to take before reading what will be put."""
        return self._turn

    def put(self, key: str, value: bytes, mark: int) -> None:
        """Keeps a value that was read after ``mark``, unless the key was dropped since."""
        if mark < self._floor or self._dropped.get(key, 0) > mark:
            return
        self._entries[key] = (self._now() + self._seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forgets a value, and whatever is being read for it at this moment."""
        self._entries.pop(key, None)
        self._turn += 1
        self._dropped[key] = self._turn
        self._dropped.move_to_end(key)
        if len(self._dropped) > self._size:
            # Marks from before a drop that is no longer known are not trusted.
            _key, self._floor = self._dropped.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything, for instance after the bus may have lost an invalidation."""
        self._entries.clear()
        self._dropped.clear()
        self._turn += 1
        self._floor = self._turn
