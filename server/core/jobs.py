"""Background jobs: rows that are enqueued in a unit of work and run at least once after its commit."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import orjson
from croniter import croniter

from server.core import job_rows
from server.core.clock import Clock
from server.core.db import Database
from server.core.errors import Aborted, GreenroomError
from server.core.job_rows import Claimed
from server.core.unit import Unit

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ATTEMPTS = 5
LEASE_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 600.0
KEEP_DONE = timedelta(days=7)
"""How long finished jobs stay, to be looked at."""
NOTE_TRIES = 5
"""How often a runner tries to store how a job ended before it leaves that to the lease."""
POLL_SECONDS = 1.0
"""How late a job that another process enqueued is seen at the most."""


class LeaseLost(Aborted):
    """Another runner has taken the job over; what this one does any more must not count."""

    message = "The lease of job {job_id} was lost."


@dataclass(frozen=True, slots=True)
class JobKind:
    """How a kind of job is run."""

    function: "Callable[[JobRun], object]"
    max_attempts: int
    lease: timedelta


class JobRun:
    """One try at one job, as its function sees it."""

    def __init__(self, database: Database, claimed: Claimed, arguments: dict[str, Any]) -> None:
        self._database = database
        self.job_id = claimed.id
        self.attempt = claimed.attempts
        """1 on the first try."""
        self.fence = claimed.fence
        """Grows with each try; what is written outside the database should carry it."""
        self.arguments = arguments

    def run(
        self, work: Callable[[Unit], T], *, write: bool = True, serializable: bool = False
    ) -> T:
        """Runs ``work`` in a unit of work of its own."""
        return self._database.run_here(work, write=write, serializable=serializable)

    def guard(self, unit: Unit) -> None:
        """Raises :class:`LeaseLost` unless this try still holds the job; locks the job's row.

        First in a unit whose effect must happen once even if another runner has taken over.
        """
        if not job_rows.holds(unit, self.job_id, self.fence):
            raise LeaseLost(job_id=self.job_id)


_is_cron = cache(croniter.is_valid)


class Jobs:
    """The kinds of job there are, when recurring ones run, and how rows come into being."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kinds: dict[str, JobKind] = {}
        self.schedules: dict[str, str] = {}
        self._wakers: list[Callable[[], object]] = []

    def register(
        self,
        kind: str,
        function: Callable[[JobRun], object],
        *,
        max_attempts: int = MAX_ATTEMPTS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        """Names the function of a kind. It is run at least once, so it must bear a repeat."""
        if kind in self.kinds:
            raise ValueError(f"the job {kind} is registered twice")
        self.kinds[kind] = JobKind(function, max_attempts, timedelta(seconds=lease_seconds))

    def schedule(self, kind: str, cron: str) -> None:
        """Has a registered kind run at the times of a cron expression (UTC), once among all processes."""
        if not _is_cron(cron):
            raise ValueError(f"not a cron expression: {cron!r}")
        if kind not in self.kinds:
            raise ValueError(f"no job is registered as {kind!r}")
        self.schedules[kind] = cron

    def enqueue(
        self,
        unit: Unit,
        job: str,
        arguments: dict[str, Any],
        *,
        run_at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Writes the row in the unit; the sink of :meth:`Unit.enqueue`."""
        if job not in self.kinds:
            raise ValueError(f"no job is registered as {job!r}")
        job_rows.insert(unit, job, orjson.dumps(arguments).decode(), run_at or unit.now, key)
        unit.after_commit(self._wake)

    def on_enqueued(self, waker: Callable[[], object]) -> None:
        """Has ``waker`` called, in the committing thread, when this process has enqueued a job."""
        self._wakers.append(waker)

    def _wake(self) -> None:
        for waker in self._wakers:
            waker()


class JobRunner:
    """Takes jobs and runs them in threads of its own. Several processes may each have one."""

    def __init__(self, database: Database, jobs: Jobs, clock: Clock, *, threads: int = 2) -> None:
        self._database = database
        self._jobs = jobs
        self._clock = clock
        self._size = threads
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._work = threading.Condition()
        self._hints = 0
        self._held: dict[str, Claimed] = {}
        self._held_lock = threading.Lock()
        jobs.on_enqueued(self._hint)

    def start(self) -> None:
        """Starts the threads: those that run jobs and one that keeps their leases."""
        targets = [self._serve] * self._size + [self._keep_leases]
        self._threads = [
            threading.Thread(target=target, name=f"jobs-{number}", daemon=True)
            for number, target in enumerate(targets)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Takes no more jobs, waits for those that run; another runner gets what is left."""
        self._stopping.set()
        with self._work:
            self._work.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads[: self._size]:
            thread.join(max(0.0, until - time.monotonic()))
        self._ended.set()  # Until here the leases of what still runs were kept.
        for thread in self._threads[self._size :]:
            thread.join(max(1.0, until - time.monotonic()))

    def run_pending(self) -> int:
        """Runs in the calling thread whatever is due; returns how many. For tests and commands."""
        count = 0
        self._enqueue_due_schedules()
        while (claimed := self._claim()) is not None:
            self._perform(claimed)
            count += 1
        return count

    def _serve(self) -> None:
        while not self._stopping.is_set():
            seen = self._hints
            try:
                self.run_pending()
            except GreenroomError as error:
                logger.warning("the job queue cannot be read at the moment: %s", error)
                self._stopping.wait(POLL_SECONDS)
            except Exception:
                logger.exception("the job queue failed")
                self._stopping.wait(POLL_SECONDS)
            with self._work:
                if seen == self._hints and not self._stopping.is_set():
                    self._work.wait(POLL_SECONDS)
        self._database.close_here()

    def _hint(self) -> None:
        with self._work:
            self._hints += 1
            self._work.notify()

    def _claim(self) -> Claimed | None:
        if self._stopping.is_set():
            return None
        now = self._clock.now()
        kinds = self._jobs.kinds
        if not self._database.run_here(
            lambda unit: job_rows.any_due(unit, now, kinds), write=False
        ):
            return None
        return self._database.run_here(
            lambda unit: job_rows.claim(
                unit, {kind: unit.now + rule.lease for kind, rule in kinds.items()}
            ),
            write=True,
        )

    def _perform(self, claimed: Claimed) -> None:
        kind = self._jobs.kinds[claimed.kind]
        if claimed.attempts > kind.max_attempts:
            # The try before this one did not live to say how it ended.
            logger.error("job %s (%s) is given up: every try died", claimed.id, claimed.kind)
            self._end(claimed, "DEAD", "the process ended in the middle of the last try")
            return
        with self._held_lock:
            self._held[claimed.id] = claimed
        try:
            kind.function(JobRun(self._database, claimed, orjson.loads(claimed.arguments)))
        except LeaseLost:
            logger.warning("job %s (%s) was taken over by another runner", claimed.id, claimed.kind)
        except Exception as error:
            logger.exception("job %s (%s) failed", claimed.id, claimed.kind)
            self._fail(claimed, kind, error)
        else:
            self._end(claimed, "DONE", "")
        finally:
            with self._held_lock:
                self._held.pop(claimed.id, None)

    def _fail(self, claimed: Claimed, kind: JobKind, error: Exception) -> None:
        text = _storable(f"{type(error).__name__}: {error}"[:500])
        if claimed.attempts >= kind.max_attempts:
            self._end(claimed, "DEAD", text)
            return
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (claimed.attempts - 1))
        again = self._clock.now() + timedelta(seconds=pause * random.uniform(0.75, 1.25))
        self._note(lambda unit: job_rows.release(unit, claimed.id, claimed.fence, again, text))

    def _note(self, work: Callable[[Unit], T]) -> T:
        """Stores how a try ended. Were that given up at once, the whole job would be repeated."""
        for _ in range(NOTE_TRIES - 1):
            try:
                return self._database.run_here(work, write=True)
            except GreenroomError as error:
                logger.warning("how a job ended cannot be stored yet: %s", error)
                self._ended.wait(POLL_SECONDS)
        return self._database.run_here(work, write=True)

    def _end(self, claimed: Claimed, state: str, text: str) -> None:
        kept = self._note(lambda unit: job_rows.end(unit, claimed.id, claimed.fence, state, text))
        if not kept:
            logger.warning("job %s (%s) ended after its lease was lost", claimed.id, claimed.kind)

    def _keep_leases(self) -> None:
        shortest = min(
            (kind.lease.total_seconds() for kind in self._jobs.kinds.values()),
            default=LEASE_SECONDS,
        )
        while not self._ended.wait(shortest / 3):
            self.keep_leases()
        self._database.close_here()

    def keep_leases(self) -> None:
        """Extends the leases of the jobs that run here."""
        with self._held_lock:
            held = list(self._held.values())
        for claimed in held:
            until = self._clock.now() + self._jobs.kinds[claimed.kind].lease
            try:
                self._database.run_here(
                    lambda unit, claimed=claimed, until=until: job_rows.extend(  # type: ignore[misc]
                        unit, claimed.id, claimed.fence, until
                    ),
                    write=True,
                )
            except Exception:
                logger.exception("the lease of job %s could not be kept", claimed.id)

    def _enqueue_due_schedules(self) -> None:
        now = self._clock.now()
        due = self._database.run_here(
            lambda unit: job_rows.due_schedules(unit, self._jobs.schedules), write=False
        )
        for kind in due:
            cron = self._jobs.schedules[kind]
            upcoming: datetime = croniter(cron, now).get_next(datetime)

            def work(
                unit: Unit, kind: str = kind, cron: str = cron, at: datetime = upcoming
            ) -> None:
                if job_rows.advance_schedule(unit, kind, cron, at):
                    self._jobs.enqueue(unit, kind, {}, key=f"cron:{kind}")

            self._database.run_here(work, write=True)


def _storable(text: str) -> str:
    """``text`` without what PostgreSQL refuses: zero bytes and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def delete_done(run: JobRun) -> None:
    """The job that deletes finished jobs of more than a week ago."""
    while run.run(lambda unit: job_rows.delete_done(unit, unit.now - KEEP_DONE)):
        continue
