"""How long busy subscribers wait for company, so that events leave in fewer replies."""

import time
from collections.abc import Callable

COALESCE_SECONDS = 0.02
"""A busy subscriber is written to once in this time. House figures for 100 subscribers: 100,000
deliveries a second when every event is written, 260,000 at 5 ms, 345,000 at 20 ms; people notice a
delay from about 100 ms on."""
MOST_COALESCE_SECONDS = 0.04
"""What that time may grow to. At 0.1 a server with 1,000 streams in 50 rooms took 2,540 sends a second at its
peak, at 0.04 it takes 1,460, without growing 1,140; but half of the peak then filled the loop without
growing, too, and everybody waited for the whole of it: 103 ms at p99, and 9 to 12 at 0.04."""
STEP = 1.5
"""By how much it grows or shrinks at a look."""
FULL_SHARE = 0.9
SPARE_SHARE = 0.75
"""It grows while the loop's thread is at work for more than the first share of the time, since sends and
calls then wait for each other anyway, and shrinks when it is for less than the second."""
WRITING_SHARE = 0.25
"""It grows only when replies take more than this share: what fills the loop may be something else."""
LOOK_SECONDS = 0.05
LOOK_REPLIES = 64
"""A look is taken after so many replies and so much time, so that it costs a reply next to nothing."""
REPLY_SECONDS = 25e-6
"""What starting a reply takes, until ticks have told."""
TELLING_REPLIES = 16
"""Replies of a tick from which it tells that."""


class Pace:
    """The time between two writes to a busy subscriber. Used on the loop's thread only.

    ``worked`` says how long the thread has been at work in all, in seconds.
    """

    def __init__(self, worked: Callable[[], float] = time.thread_time) -> None:
        self.seconds = COALESCE_SECONDS
        self._worked = worked
        self._reply_seconds = REPLY_SECONDS
        self._replies = 0
        self._since = 0.0
        self._worked_then = 0.0

    def wrote(self, now: float) -> None:
        """A reply has left."""
        self._replies += 1
        if self._replies >= LOOK_REPLIES and now - self._since >= LOOK_SECONDS:
            self._look(now)

    def ticked(self, replies: int, seconds: float) -> None:
        """So many replies were started one after the other, which took so long."""
        if replies >= TELLING_REPLIES:
            self._reply_seconds += (seconds / replies - self._reply_seconds) / 8

    def _look(self, now: float) -> None:
        passed, worked = now - self._since, self._worked()
        busy = (worked - self._worked_then) / passed
        writing = self._replies * self._reply_seconds / passed
        if busy > FULL_SHARE and writing > WRITING_SHARE:
            self.seconds = min(self.seconds * STEP, MOST_COALESCE_SECONDS)
        elif busy < SPARE_SHARE or writing < WRITING_SHARE / STEP:
            self.seconds = max(self.seconds / STEP, COALESCE_SECONDS)
        self._since, self._worked_then, self._replies = now, worked, 0
