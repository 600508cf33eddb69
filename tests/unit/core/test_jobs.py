"""Jobs: enqueued with their cause, run at least once, tried again, given up, taken over."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from server.core import job_rows
from server.core.clock import ManualClock
from server.core.config import load_settings
from server.core.db import Database, database
from server.core.jobs import MAX_ATTEMPTS, JobRun, JobRunner, Jobs, LeaseLost
from server.core.unit import Unit


class Bench:
    """A database with jobs, and a runner that is driven by hand."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.database = Database.open(load_settings({"DATABASE_URL": url}), self.clock)
        self.jobs = Jobs(self.clock)
        self.database.job_sink = self.jobs.enqueue
        self.runner = JobRunner(self.database, self.jobs, self.clock)
        self.runs: list[dict[str, Any]] = []

    def write(self, work: Callable[[Unit], Any]) -> Any:
        """Runs work in a unit."""
        return self.database.run_here(work, write=True)

    def states(self) -> list[tuple[str, int, str]]:
        """State, attempts and arguments of every job."""
        return self.database.run_here(
            lambda _unit: database.execute_sql(
                "SELECT state, attempts, arguments FROM jobs ORDER BY id"
            ).fetchall(),
            write=False,
        )


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    made = Bench(database_url)
    made.jobs.register("note", lambda run: made.runs.append(run.arguments))
    yield made
    made.database.close_here()
    made.database.close()


def test_a_job_shares_the_fate_of_its_unit(bench: Bench) -> None:
    def fails(unit: Unit) -> None:
        unit.enqueue("note", {"n": 1})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.write(fails)
    bench.write(lambda unit: unit.enqueue("note", {"n": 2}))
    assert bench.runner.run_pending() == 1
    assert bench.runs == [{"n": 2}]
    assert [tuple(row) for row in bench.states()] == [("DONE", 1, "{}")]


def test_one_unfinished_job_for_a_key(bench: Bench) -> None:
    for number in range(3):
        bench.write(lambda unit, number=number: unit.enqueue("note", {"n": number}, key="k"))
    assert bench.runner.run_pending() == 1
    bench.write(lambda unit: unit.enqueue("note", {"n": 9}, key="k"))
    assert bench.runner.run_pending() == 1
    assert bench.runs == [{"n": 0}, {"n": 9}]


def test_a_job_waits_for_its_time(bench: Bench) -> None:
    later = bench.clock.now() + timedelta(seconds=60)
    bench.write(lambda unit: unit.enqueue("note", {}, run_at=later))
    assert bench.runner.run_pending() == 0
    bench.clock.advance(61)
    assert bench.runner.run_pending() == 1


def test_failures_are_tried_again_and_then_given_up(bench: Bench) -> None:
    def fails(_run: JobRun) -> None:
        raise ValueError("no")

    bench.jobs.register("fail", fails)
    bench.write(lambda unit: unit.enqueue("fail", {}))
    for tries in range(1, MAX_ATTEMPTS + 1):
        assert bench.runner.run_pending() == 1
        assert bench.runner.run_pending() == 0
        assert bench.states()[0][:2] == ("DEAD" if tries == MAX_ATTEMPTS else "READY", tries)
        bench.clock.advance(1000)
    assert bench.runner.run_pending() == 0


def test_a_lost_lease_counts_for_nothing(bench: Bench) -> None:
    bench.write(lambda unit: unit.enqueue("note", {}))
    until = bench.clock.now() + timedelta(seconds=30)
    claim = lambda unit: job_rows.claim(unit, {"note": until})  # noqa: E731
    first = bench.write(claim)
    assert bench.write(claim) is None
    bench.clock.advance(31)
    until = bench.clock.now() + timedelta(seconds=30)
    second = bench.write(claim)
    assert (second.id, second.fence) == (first.id, first.fence + 1)
    late = JobRun(bench.database, first, {})
    with pytest.raises(LeaseLost):
        bench.write(late.guard)
    assert not bench.write(lambda unit: job_rows.end(unit, first.id, first.fence, "DONE", ""))
    JobRun(bench.database, second, {})
    assert bench.write(lambda unit: job_rows.end(unit, second.id, second.fence, "DONE", ""))


def test_a_schedule_runs_once_among_runners(bench: Bench) -> None:
    bench.jobs.schedule("note", "*/10 * * * *")
    other = JobRunner(bench.database, bench.jobs, bench.clock)
    assert bench.runner.run_pending() + other.run_pending() == 0
    for _ in range(3):
        bench.clock.advance(600)
        assert bench.runner.run_pending() + other.run_pending() == 1
