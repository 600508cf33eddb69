"""The newest events of one channel, encoded once for everybody who watches it."""

from bisect import bisect_right
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.chat.subscriber import Subscriber

REPLY_BYTES = 64 * 1024
"""Size that a reply of events does not outgrow by more than its last event: with one such reply being
written a stalled reader costs less than its 256 KiB, and larger replies are not faster."""
RING_EVENTS = 4096
RING_BYTES = 1024 * 1024
"""What a ring holds at most: over a second of the fastest channel, so that a reader who hesitates for a
moment does not have to go to the database."""
NOTES = 256
"""Last values (read marks, typing) that a ring keeps; older ones are taken from the database."""
SHARED_CHUNKS = 8
"""Different starting points for which joined chunks are kept until the next event."""


class Note:
    """The last value of something that is not part of the history: a read mark, a typing sign, something
    that changed."""

    __slots__ = ("change", "expires", "frame", "not_for", "only_for", "rank", "version")

    def __init__(
        self,
        version: int,
        frame: bytes,
        rank: int,
        expires: float,
        not_for: Collection[str],
        only_for: str,
        change: int,
    ) -> None:
        self.version = version
        self.rank = rank
        self.frame = frame
        self.expires = expires
        """Loop time after which it is not worth sending."""
        self.not_for = not_for
        """The users who do not get it."""
        self.only_for = only_for
        """The user who alone gets it; empty when all do."""
        self.change = change
        """The number of the change that it tells of; 0 for what is none."""


class Ring:
    """The events ``first`` to ``head`` of a channel, without a gap, and the channel's last values.

    Frames are ready to be joined into a reply. ``known`` is the highest number that is known to be
    stored: where it is greater than ``head``, the events between are yet to be fetched. ``change`` and
    ``known_change`` are the same for changes, which become notes.
    """

    __slots__ = (
        "_chunks",
        "_ends",
        "_frames",
        "_start",
        "change",
        "channel_id",
        "epoch",
        "first",
        "forgotten",
        "head",
        "idle",
        "known",
        "known_change",
        "notes",
        "touched",
        "version",
        "watchers",
    )

    def __init__(self, channel_id: str) -> None:
        self.channel_id = channel_id
        self.epoch = 0
        """0 until the channel's standing is known."""
        self.first = 1
        self.head = 0
        self.known = 0
        self.change = 0
        self.known_change = 0
        self.version = 0
        """Counts the notes, so that a subscriber can say which of them it has seen."""
        self.forgotten = 0
        """Version of the newest note that had to be dropped."""
        self.notes: dict[tuple[str, str], Note] = {}
        self.watchers = 0
        self.idle: set[Subscriber] = set()
        """Subscribers who have everything and want to hear of the next event."""
        self.touched = 0.0
        self._frames: list[bytes] = []
        self._ends: list[int] = []
        self._start = 0
        self._chunks: dict[int, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self._ends[-1] - self._start if self._ends else 0

    def restart(self, epoch: int, head: int) -> None:
        """Begins anew, empty, after ``head``."""
        self.epoch = epoch
        self.head = self.known = head
        self.forget_events()

    def forget_events(self) -> None:
        """Drops all events; who needs one of them reads it from the database."""
        self.first = self.head + 1
        self._start = 0
        self._frames.clear()
        self._ends.clear()
        self._chunks.clear()

    def push(self, frame: bytes) -> None:
        """Adds the event after ``head``."""
        self.head += 1
        if self.known < self.head:
            self.known = self.head
        self._frames.append(frame)
        ends = self._ends
        ends.append((ends[-1] if ends else self._start) + len(frame))
        if self._chunks:
            self._chunks.clear()
        if len(ends) > RING_EVENTS or ends[-1] - self._start > RING_BYTES:
            self._drop(max(1, len(ends) // 2))

    def replace(self, seq: int, frame: bytes) -> None:
        """Puts another frame in the place of an event that is still here: it has changed."""
        index = seq - self.first
        if not 0 <= index < len(self._frames):
            return
        grown = len(frame) - len(self._frames[index])
        self._frames[index] = frame
        if grown:
            ends = self._ends
            ends[index:] = [end + grown for end in ends[index:]]
        self._chunks.clear()

    def _drop(self, count: int) -> None:
        """Drops the oldest ones, many at a time so that it costs nothing per event."""
        self._start = self._ends[count - 1]
        del self._frames[:count], self._ends[:count]
        self.first += count

    def chunk(self, seq: int) -> tuple[int, bytes]:
        """The events from ``seq`` on, up to about 64 KiB, joined; and the number after the last one.

        ``seq`` lies between ``first`` and ``head``. Subscribers at one position share one object.
        """
        shared = self._chunks.get(seq)
        if shared is not None:
            return shared
        index = seq - self.first
        ends = self._ends
        start = ends[index - 1] if index else self._start
        if ends[-1] - start <= REPLY_BYTES:
            stop = len(ends)
        else:
            stop = max(index + 1, bisect_right(ends, start + REPLY_BYTES))
        frames = self._frames
        joined = frames[index] if stop == index + 1 else b"".join(frames[index:stop])
        shared = (self.first + stop, joined)
        if len(self._chunks) >= SHARED_CHUNKS:
            self._chunks.clear()
        self._chunks[seq] = shared
        return shared

    def note(
        self,
        kind: str,
        subject: str,
        frame: bytes,
        *,
        rank: int,
        expires: float,
        not_for: Collection[str] = (),
        only_for: str = "",
        change: int = 0,
    ) -> bool:
        """Keeps the last value of one kind and subject; False when one of a higher rank is there."""
        key = (kind, subject)
        last = self.notes.get(key)
        if last is not None:
            if last.rank > rank:
                return False
            del self.notes[key]
        self.version += 1
        self.notes[key] = Note(self.version, frame, rank, expires, not_for, only_for, change)
        if len(self.notes) > NOTES:
            oldest = next(iter(self.notes))
            self.forgotten = self.notes.pop(oldest).version
        return True

    def forget_notes(self) -> None:
        """Has all subscribers take from the database what notes would have told them."""
        self.version += 1
        self.forgotten = self.version
        self.notes.clear()

    def notes_after(self, version: int, user_id: str, now: float, change: float) -> list[bytes]:
        """The frames of the notes that came after ``version``, oldest first; changes up to ``change``
        are left out."""
        frames = []
        for note in reversed(self.notes.values()):
            if note.version <= version:
                break
            if note.expires <= now or user_id in note.not_for or 0 < note.change <= change:
                continue
            if not note.only_for or note.only_for == user_id:
                frames.append(note.frame)
        frames.reverse()
        return frames
