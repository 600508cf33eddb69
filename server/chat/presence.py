"""Who is here: the users that have a live stream in this process."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple, Protocol

GRACE_SECONDS = 5.0
"""How long a user is still here after their last stream: most come back at once."""
RENEW_SECONDS = 15.0
"""How often a process says that its users are still here."""
TRUSTED_SECONDS = 45
"""A process that has not said so for this time is dead. The clocks of processes may differ by less."""
SHOWN_MEMBERS = 100
"""In channels of more members nobody is told who comes and goes."""


class Appearance(NamedTuple):
    """Somebody came online or went offline."""

    user_id: str
    online: bool
    last_online: int | None
    """When they last were, in microseconds since 1970; ``None`` when never, and while they are online."""
    channels: list[tuple[str, int]]
    """Id and epoch of the channels in which that is shown."""
    hidden_from: list[str]
    """Members of them who are not to see it: they have blocked the user, or the user them."""


class Attending(Protocol):
    """Is told of live streams."""

    def opened(self, user_id: str) -> None:
        """A stream of the user is live."""

    def closed(self, user_id: str) -> None:
        """It is no more."""


class Attendance:
    """Counts streams, and says which users are to be written down and which to be struck out.

    Nothing is forgotten before :meth:`wrote` or :meth:`removed` says that it is done: what fails is tried
    again. ``now`` gives seconds that only grow.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._streams: Counter[str] = Counter()
        self._leaving: dict[str, float] = {}
        """Until when those without a stream are still here, soonest first."""
        self._written: set[str] = set()
        self._unwritten: set[str] = set()

    def opened(self, user_id: str) -> None:
        """A stream of the user is live."""
        self._streams[user_id] += 1
        self._leaving.pop(user_id, None)
        if user_id not in self._written:
            self._unwritten.add(user_id)

    def closed(self, user_id: str) -> None:
        """It is no more."""
        self._streams[user_id] -= 1
        if not self._streams[user_id]:
            del self._streams[user_id]
            self._leaving[user_id] = self._now() + GRACE_SECONDS

    @property
    def written(self) -> Collection[str]:
        """Those who are written down."""
        return self._written

    def arrivals(self) -> list[str]:
        """Those who are here and not written down yet."""
        gone = set(self.departures())
        return [user_id for user_id in self._unwritten if user_id not in gone]

    def departures(self) -> list[str]:
        """Those whose last stream closed long enough ago."""
        now = self._now()
        found = []
        for user_id, until in self._leaving.items():
            if until > now:
                break
            found.append(user_id)
        return found

    def wrote(self, asked: Iterable[str], stored: Iterable[str]) -> None:
        """Of those who were to be written down, these are."""
        self._unwritten.difference_update(asked)
        self._written.update(stored)

    def removed(self, user_ids: Iterable[str]) -> None:
        """They are struck out. Those who came back meanwhile have to be written down again."""
        for user_id in user_ids:
            self._written.discard(user_id)
            self._unwritten.discard(user_id)
            if user_id in self._streams or self._leaving.get(user_id, 0.0) > self._now():
                self._unwritten.add(user_id)
            else:
                self._leaving.pop(user_id, None)

    def doubt(self) -> None:
        """Others may have struck them out: all who are here have to be written down again."""
        self._written.clear()
        self._unwritten.update(self._streams, self._leaving)
