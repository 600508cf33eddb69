"""One writer at a time in this process: SQLite allows no more, and would poll for its turn."""

import threading
from collections import deque
from types import TracebackType

from server.core.errors import ResourceExhausted


class PoolBusy(ResourceExhausted):
    """Nobody was free to work on the database within the time a call may wait."""

    message = "The database is busy; try again in a moment."

    def __init__(self) -> None:
        super().__init__(retry_after=1.0)


class WriterLock:
    """A fair lock: whoever waits longest is next, so that a busy writer cannot shut out the others.

    As a context manager it waits ``seconds`` and then raises :class:`PoolBusy`.
    """

    __slots__ = ("__weakref__", "_held", "_mutex", "_seconds", "_waiting")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._mutex = threading.Lock()
        self._held = False
        self._waiting: deque[threading.Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """Takes the lock; False when it was not to be had within ``timeout`` seconds."""
        with self._mutex:
            if not self._held:
                self._held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=max(0.0, timeout)):
            return True
        with self._mutex:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        return True  # It was handed over in the very moment of giving up.

    def release(self) -> None:
        """Hands the lock to whoever waits longest."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._held = False

    def __enter__(self) -> None:
        if not self.acquire(self._seconds):
            raise PoolBusy()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class NoLock:
    """Stands for the writer lock where the database has writers side by side."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None
