"""Encoded replies kept in memory, dropped when what they show changes."""

from collections import OrderedDict

from server.core.clock import Clock


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
