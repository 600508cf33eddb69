"""Deadlines of unary calls: one look at all of them many times a second, not a timer for each.

uvloop makes and closes a handle of libuv for every timer, which costs a call more than all its checks
together; nearly every call ends long before its deadline.
"""

import asyncio
import time

LOOK_SECONDS = 0.02
"""A call is ended at most this long after its deadline."""

_Task = asyncio.Task[object]
_EXPIRED = float("-inf")


class Deadlines:
    """The calls being worked on and when each must have ended. Used on the loop's thread only."""

    def __init__(self) -> None:
        self._calls: dict[_Task, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, task: _Task, deadline: float) -> None:
        """Has the task cancelled once ``time.monotonic()`` is past its deadline."""
        self._calls[task] = deadline
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def forget(self, task: _Task) -> bool:
        """Ends the watch; True when the task was cancelled for its deadline."""
        return self._calls.pop(task, 0.0) == _EXPIRED

    def _look(self) -> None:
        now = time.monotonic()
        for task, deadline in self._calls.items():
            if deadline <= now and deadline != _EXPIRED:
                self._calls[task] = _EXPIRED
                task.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look) if self._calls else None
