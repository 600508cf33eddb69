"""The threads that work on the database, and the queue in front of them."""

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from server.core.errors import DeadlineExceeded, GreenroomError, Unavailable
from server.core.writer_lock import PoolBusy


class Task:
    """One piece of work and the future that waits for it.

    It is taken exactly once: by the thread that runs it or by the timer that gives it up.
    """

    __slots__ = ("_taken", "future", "loop", "timer", "work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Any]) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.work: Callable[[], Any] | None = work
        self.timer: asyncio.TimerHandle | None = None
        self._taken = [self]

    def take(self) -> bool:
        """True for the first who asks, in any thread."""
        try:
            self._taken.pop()
        except IndexError:
            return False
        return not self.future.cancelled()

    def give_up(self, error: type[GreenroomError]) -> None:
        """Answers in place of a thread that did not come. Runs on the loop."""
        if self.take():
            self.work = None
            self.future.set_exception(error())

    def answer(self, result: Any, error: BaseException | None) -> None:
        """Hands the outcome to whoever still waits. Runs on the loop."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Workers:
    """Threads that take tasks in order.

    A thread is the permit: it is free again when its task has ended, whatever became of the caller.
    One is started when a task comes and all there are have one: no server holds more connections
    than it has ever needed at once.
    """

    def __init__(
        self, size: int, name: str, *, wait_seconds: float, on_exit: Callable[[], None]
    ) -> None:
        self.size = size
        self.in_flight = 0
        """Tasks handed in and not ended; given-up ones count until a thread has seen them."""
        self._wait_seconds = wait_seconds
        self._on_exit = on_exit
        self._mutex = threading.Lock()
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._closed = False
        self._name = name
        self._threads: list[threading.Thread] = []

    async def run(self, work: Callable[[], Any], deadline: float | None) -> Any:
        """Has ``work`` run by a thread. Raises :class:`PoolBusy` when none was free in time.

        Cancelled before a thread has begun, it never runs; after that it runs to its end.
        """
        loop = asyncio.get_running_loop()
        task = Task(loop, work)
        with self._mutex:
            if self._closed:
                raise Unavailable()
            if len(self._threads) <= self.in_flight and len(self._threads) < self.size:
                self._start_another()
            self.in_flight += 1
            crowded = self.in_flight > self.size
        if crowded:
            seconds, error = self._wait_seconds, PoolBusy
            if deadline is not None and (left := deadline - time.monotonic()) < seconds:
                task.timer = loop.call_later(max(0.0, left), task.give_up, DeadlineExceeded)
            else:
                task.timer = loop.call_later(seconds, task.give_up, error)
        self._queue.put(task)
        try:
            return await task.future
        finally:
            if task.timer is not None:
                task.timer.cancel()

    def close(self, seconds: float) -> bool:
        """Ends the threads after what is queued; False when one still works after ``seconds``."""
        with self._mutex:
            self._closed = True
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start_another(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self) -> None:
        get = self._queue.get
        while (task := get()) is not None:
            if task.take():
                self._perform(task)
            with self._mutex:
                self.in_flight -= 1
            del task
        self._on_exit()

    @staticmethod
    def _perform(task: Task) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            assert task.work is not None
            result = task.work()
        except StopIteration as raised:  # A future refuses this one.
            error = RuntimeError("the work raised StopIteration")
            error.__cause__ = raised
        except BaseException as raised:
            error = raised
        try:
            task.loop.call_soon_threadsafe(task.answer, result, error)
        except RuntimeError:
            pass  # The loop is closed: nobody waits any more.
        finally:
            error = None
