"""Typing signs: shown for a few seconds, never stored, at most one in two seconds a user and channel."""

from collections.abc import Callable

from server.chat.errors import ChannelNotFound
from server.chat.events import TypingStarted
from server.chat.history import HistoryReader
from server.chat.models import Channel
from server.chat.ports import StreamCall
from server.chat.rules import Standing
from server.core.clock import Clock
from server.core.unit import Unit

THROTTLE_SECONDS = 2.0
REMEMBERED = 10_000
"""Users and channels of which the last sign is remembered; beyond, the oldest are forgotten."""


class TypingSigns:
    """Takes signs and hands those on that are not too soon after the last one."""

    def __init__(
        self, history: HistoryReader, clock: Clock, announce: Callable[[TypingStarted], None]
    ) -> None:
        self._history = history
        self._clock = clock
        self._announce = announce
        self._last: dict[tuple[str, str], float] = {}

    async def start(self, call: StreamCall, channel_id: str) -> None:
        """The caller types. Raises ``ChannelNotFound``. Where nothing can be sent nothing is shown.

        A throttled sign costs no look into the database: the caller was a member two seconds ago.
        """
        user_id = call.caller.user_id
        key = (user_id, channel_id)
        last = self._last.get(key)
        if last is not None and self._clock.monotonic() - last < THROTTLE_SECONDS:
            return
        standing, is_open = await call.run(
            lambda unit: self._look(unit, user_id, channel_id), write=False
        )
        if standing is None:
            raise ChannelNotFound
        # Put last again, so that the oldest come first.
        self._last.pop(key, None)
        self._last[key] = self._clock.monotonic()
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        if is_open:
            self._announce(TypingStarted(channel_id, standing.epoch, user_id))

    def forget(self, user_id: str, channel_id: str) -> None:
        """A message of the user has taken their sign away: the next one is shown however soon it comes."""
        self._last.pop((user_id, channel_id), None)

    def _look(self, unit: Unit, user_id: str, channel_id: str) -> tuple[Standing | None, bool]:
        standing = self._history.standing(unit, user_id, channel_id)
        writable = (Channel.id == channel_id) & Channel.archived_at.is_null() & ~Channel.blocked
        return standing, standing is not None and Channel.select().where(writable).exists()
