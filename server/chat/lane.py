"""The lane: every send of this process goes through one thread, which commits them in groups.

While one group is being written to disk the next one gathers, so the price of a sync is shared by as
many sends as arrive during it, and a lone send is written at once. A loop that is busy lets it gather for a
little longer: it would only get in the way of the thread, and the thread in its.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Any

from server.chat.errors import LaneFull, LaneStopped
from server.chat.sending import Outcome, SendCommand, Sent
from server.core.errors import Aborted, GreenroomError, Unavailable
from server.core.failures import DRIVER_ERRORS, Verdict, verdict_on
from server.core.quiet import until_quiet

logger = logging.getLogger(__name__)

QUEUE_LIMIT = 4096
"""Sends that may wait: about a second's worth. Over it the sender is told at once."""
BATCH_LIMIT = 256
"""Sends in one transaction. Larger ones gain nothing and make the first of them wait."""
RETRY_WAITS = (0.0, 0.01, 0.05)
"""Seconds before a group is tried again that lost against another process, or its connection."""

Waiting = tuple[SendCommand, "asyncio.Future[Sent]"]
Write = Callable[[Any, Sequence[SendCommand]], list[Outcome]]


class Lane:
    """Sends gather on the loop's side, one thread writes them on the other.

    ``dedicated`` opens a raw DB-API connection in autocommit mode, ``writer_lock`` is what writers of
    this process hold from BEGIN to COMMIT, ``write`` is :meth:`BatchWriter.write`, ``deliver`` gets
    the new messages of a group on the loop's thread.
    """

    def __init__(
        self,
        *,
        dedicated: Callable[[], AbstractContextManager[Any]],
        writer_lock: AbstractContextManager[Any],
        write: Write,
        deliver: Callable[[list[Sent]], None],
        queue_limit: int = QUEUE_LIMIT,
        batch_limit: int = BATCH_LIMIT,
    ) -> None:
        self._connections = _LaneConnection(dedicated)
        self._writer_lock = writer_lock
        self._write = write
        self._deliver = deliver
        self._queue_limit = queue_limit
        self._batch_limit = batch_limit
        self._waiting: list[Waiting] = []
        self._writing = False
        """A group is with the thread, or about to be."""
        self._pause: asyncio.Task[None] | None = None
        self._groups: queue.SimpleQueue[list[Waiting] | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to take sends. To be called on the loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._serve, name="chat-lane", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Takes no more sends, writes those that wait, answers them, closes the connection."""
        thread, self._thread = self._thread, None
        if thread is not None:
            if self._pause is not None:
                self._pause.cancel()
            while self._waiting:
                self._hand_over()
            self._groups.put(None)
            await asyncio.to_thread(thread.join)
            # The answers were handed to the loop before the thread ended; this lets them go out.
            await asyncio.sleep(0)

    def send(self, command: SendCommand) -> "asyncio.Future[Sent]":
        """Queues a send; the future holds the stored message once it is on disk.

        Sends of one caller are numbered in the order of their calls. Raises ``LaneFull`` at once when
        too many wait, ``LaneStopped`` when the server shuts down. Cancelling the future takes a send
        back that was not begun.
        """
        if self._thread is None or self._loop is None:
            raise LaneStopped
        if len(self._waiting) >= self._queue_limit:
            raise LaneFull(retry_after=1.0)
        future: asyncio.Future[Sent] = self._loop.create_future()
        self._waiting.append((command, future))
        if not self._writing:
            self._writing = True
            # With whatever else this turn of the loop has brought.
            self._loop.call_soon(self._hand_over)
        return future

    def _hand_over(self) -> None:
        waiting = [each for each in self._waiting if not each[1].cancelled()]
        group, self._waiting = waiting[: self._batch_limit], waiting[self._batch_limit :]
        self._writing = bool(group)
        if group:
            self._groups.put(group)

    def _settle(self, group: list[Waiting], outcomes: Sequence[Outcome | BaseException]) -> None:
        """Delivers what is new, answers everybody, and goes on with what has gathered meanwhile."""
        try:
            fresh = [outcome for outcome in outcomes if isinstance(outcome, Sent) and outcome.fresh]
            if fresh:
                self._deliver(fresh)
            for (_, future), outcome in zip(group, outcomes, strict=True):
                if future.done():
                    continue
                if isinstance(outcome, Sent):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
        finally:
            self._writing = bool(self._waiting)
            if self._writing and self._loop is not None:
                self._pause = self._loop.create_task(self._go_on())

    async def _go_on(self) -> None:
        await until_quiet()
        self._hand_over()

    # Everything below runs in the writer thread.

    def _serve(self) -> None:
        try:
            while (group := self._groups.get()) is not None:
                self._answer(group)
        finally:
            self._connections.close()

    def _answer(self, group: list[Waiting]) -> None:
        outcomes = self._outcomes([command for command, _ in group])
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._settle, group, outcomes)

    def _outcomes(self, commands: list[SendCommand]) -> Sequence[Outcome | BaseException]:
        """The outcome of each command. Never raises: an error is an outcome, too."""
        retried = False
        for wait in (*RETRY_WAITS, None):
            try:
                outcomes = self._commit(commands)
            except GreenroomError as error:
                # Nobody could begin: the database is away, or somebody keeps the writer lock.
                return [error] * len(commands)
            except Exception as error:
                verdict = verdict_on(error)
                again = verdict is Verdict.RETRY or (verdict is Verdict.LOST and not retried)
                if again and wait is not None:
                    # Should a lost connection have committed, the client ids tell.
                    logger.warning("the lane writes %d sends again: %s", len(commands), error)
                    retried = True
                    time.sleep(wait)
                    continue
                if verdict in (Verdict.DUPLICATE, Verdict.OURS) and len(commands) > 1:
                    # One of them is at fault: alone, it fails alone.
                    return [self._outcomes([command])[0] for command in commands]
                return [_named(error, verdict)] * len(commands)
            return [_undelivered(outcome) for outcome in outcomes] if retried else outcomes
        raise AssertionError("the last try returns")

    def _commit(self, commands: list[SendCommand]) -> list[Outcome]:
        connection = self._connections.get()
        with self._writer_lock:
            try:
                return self._write(connection, commands)
            except BaseException:
                self._connections.roll_back()
                raise


def _undelivered(outcome: Outcome) -> Outcome:
    """What a lost connection has committed was found by its client id, but never delivered."""
    return replace(outcome, fresh=True) if isinstance(outcome, Sent) else outcome


def _named(error: Exception, verdict: Verdict) -> Exception:
    """The error that the callers are told."""
    named: GreenroomError
    match verdict:
        case Verdict.LOST:
            named = Unavailable(retry_after=1.0)
        case Verdict.RETRY | Verdict.CONFLICT | Verdict.TIMEOUT:
            named = Aborted(retry_after=0.5)
        case _:
            return error
    named.__cause__ = error
    return named


class _LaneConnection:
    """The lane's connection, opened when it is needed and again after it was lost."""

    def __init__(self, dedicated: Callable[[], AbstractContextManager[Any]]) -> None:
        self._dedicated = dedicated
        self._stack = ExitStack()
        self._connection: Any = None

    def get(self) -> Any:
        """The open connection; raises ``Unavailable`` when the database cannot be reached."""
        if self._connection is None:
            try:
                self._connection = self._stack.enter_context(self._dedicated())
            except DRIVER_ERRORS as error:
                raise Unavailable(retry_after=1.0) from error
        return self._connection

    def roll_back(self) -> None:
        """Ends the open transaction; a connection that cannot is closed, and opened again later."""
        connection = self._connection
        # psycopg2 says that it is closed, sqlite3 whether there is a transaction.
        if getattr(connection, "closed", False):
            self.close()
        elif getattr(connection, "in_transaction", True):
            try:
                connection.cursor().execute("ROLLBACK")
            except DRIVER_ERRORS as error:
                logger.warning("the lane closes a connection that cannot roll back: %s", error)
                self.close()

    def close(self) -> None:
        """Closes the connection; it does not matter whether it still works."""
        self._connection = None
        self._stack.close()
