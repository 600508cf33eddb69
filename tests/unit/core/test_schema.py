"""Migrations on both databases: one runner at a time, whole or not at all, and a guard at start."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from server.core import schema
from server.core.clock import SystemClock
from server.core.config import load_settings
from server.core.db import Database, sql

ROOT = Path(__file__).resolve().parents[3]
RUNNER = """
import sys
from pathlib import Path
from server.core import schema
print(*schema.migrate(sys.argv[1], Path(sys.argv[2])), sep="\\n")
"""


def write(folder: Path, name: str, up: str, down: str = "pass") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(
        f"import os, signal, time\n\n"
        f"def up(migrator, db):\n    {up}\n\ndef down(migrator, db):\n    {down}\n"
    )


def run(url: str, folder: Path, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, url, str(folder)],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(url: str, text: str) -> list[tuple[object, ...]]:
    database = Database.open(load_settings({"DATABASE_URL": url}), SystemClock())
    try:
        found: list[tuple[object, ...]] = database.run_here(
            lambda unit: sql(text).fetchall(), write=False
        )
        return found
    finally:
        database.close()


def test_three_runners_at_once_run_each_migration_once(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write(folder, "0001_table", "db.execute_sql('CREATE TABLE marks (name TEXT)')")
    for number in range(2, 6):
        statement = f"INSERT INTO marks (name) VALUES ('{number}')"
        write(folder, f"{number:04d}_mark", f'time.sleep(0.05); db.execute_sql("{statement}")')
    runners = [run(empty_database_url, folder) for _ in range(3)]
    outputs = [runner.communicate(timeout=60) for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0, 0], outputs
    applied = [name for output, _ in outputs for name in output.split()]
    assert len(applied) == len(set(applied)) == 5
    assert [name for (name,) in rows(empty_database_url, "SELECT name FROM marks ORDER BY 1")] == [
        "2", "3", "4", "5",
    ]  # fmt: skip
    schema.require_current(empty_database_url, folder)


def test_a_runner_does_not_open_the_file_that_another_one_makes(tmp_path: Path) -> None:
    path = tmp_path / "greenroom.db"
    url = f"sqlite:///{path}"
    with schema._file_lock(url, 1), closing(sqlite3.connect(path)) as maker:
        maker.execute("BEGIN EXCLUSIVE")
        with pytest.raises(schema.SchemaError, match="Another migration has been running"):
            schema.migrate(url, lock_seconds=0.1)
    schema.migrate(url)
    schema.require_current(url)


def test_a_runner_that_is_killed_in_the_middle_is_taken_up_by_the_next(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write(folder, "0001_first", "db.execute_sql('CREATE TABLE first (n INTEGER)')")
    write(
        folder,
        "0002_second",
        "db.execute_sql('CREATE TABLE second (n INTEGER)')\n"
        "    db.execute_sql('INSERT INTO second VALUES (1)')\n"
        "    if os.environ.get('DIE'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    db.execute_sql('INSERT INTO second VALUES (2)')",
    )
    killed = run(empty_database_url, folder, DIE="1")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    states = schema.status(empty_database_url, folder)
    assert [state.applied is not None for state in states] == [True, False]
    assert schema.migrate(empty_database_url, folder) == ["0002_second"]
    assert rows(empty_database_url, "SELECT n FROM second ORDER BY n") == [(1,), (2,)]


def test_a_migration_that_fails_leaves_nothing(empty_database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write(folder, "0001_bad", "db.execute_sql('CREATE TABLE half (n INTEGER)'); raise KeyError(1)")
    with pytest.raises(KeyError):
        schema.migrate(empty_database_url, folder)
    write(folder, "0001_bad", "db.execute_sql('CREATE TABLE half (n INTEGER)')")
    assert schema.migrate(empty_database_url, folder) == ["0001_bad"]


def test_an_old_or_a_newer_schema_is_refused_in_one_line(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    write(folder, "0001_first", "db.execute_sql('CREATE TABLE first (n INTEGER)')")
    write(folder, "0002_second", "pass")
    with pytest.raises(schema.SchemaOutdated, match="make migrate") as caught:
        schema.require_current(empty_database_url, folder)
    assert "\n" not in str(caught.value)
    schema.migrate(empty_database_url, folder)
    schema.require_current(empty_database_url, folder)
    (folder / "0002_second.py").unlink()
    with pytest.raises(schema.SchemaOutdated, match="0002_second, which this release does not"):
        schema.require_current(empty_database_url, folder)


def test_whoever_waits_too_long_for_the_lock_is_told(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "migrations"
    gate = tmp_path / "gate"
    gate.touch()
    reached = tmp_path / "reached"
    write(
        folder,
        "0001_slow",
        f"open({str(reached)!r}, 'w').close()\n"
        f"    while os.path.exists({str(gate)!r}): time.sleep(0.02)",
    )
    slow = run(empty_database_url, folder)
    try:
        while not reached.exists():
            assert slow.poll() is None
        with pytest.raises(schema.SchemaError, match="Another migration"):
            schema.migrate(empty_database_url, folder, lock_seconds=0.1)
    finally:
        gate.unlink()
        slow.communicate(timeout=60)
    assert slow.returncode == 0
    assert schema.migrate(empty_database_url, folder) == []


def test_the_migrations_of_the_project_go_up_down_and_up(empty_database_url: str) -> None:
    names = schema.migrate(empty_database_url)
    assert names[0] == "0001_idempotency_keys"
    schema.require_current(empty_database_url)
    for name in reversed(names):
        assert schema.revert(empty_database_url) == [name]
    assert schema.migrate(empty_database_url) == names


def test_a_migration_may_not_break_references(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write(
        folder,
        "0001_tables",
        "db.execute_sql('CREATE TABLE a (id INTEGER PRIMARY KEY)')\n"
        "    db.execute_sql('CREATE TABLE b (a INTEGER REFERENCES a (id))')\n"
        "    db.execute_sql('INSERT INTO b VALUES (7)')",
    )
    with pytest.raises(schema.SchemaError, match="left b with a row that refers to nothing"):
        schema.migrate(f"sqlite:///{tmp_path}/x.db", folder)


def test_the_next_migration_is_written_from_a_template(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    first = schema.create("Add rooms!", folder)
    second = schema.create("add_seats", folder)
    assert [first.name, second.name] == ["0001_add_rooms.py", "0002_add_seats.py"]
    assert first.read_text().startswith('"""Add rooms."""')
    url = f"sqlite:///{tmp_path}/x.db"
    assert schema.migrate(url, folder) == ["0001_add_rooms", "0002_add_seats"]
    with pytest.raises(schema.SchemaError, match="NAME="):
        schema.create("!", folder)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(schema.SchemaError, match="no folder of migrations"):
        schema.migrate(f"sqlite:///{tmp_path}/x.db", tmp_path / "none")
    with pytest.raises(schema.SchemaOutdated, match="no database yet"):
        schema.require_current(f"sqlite:///{tmp_path}/y.db")
    assert not (tmp_path / "y.db").exists()
    with pytest.raises(schema.SchemaError, match="cannot be reached"):
        schema.migrate("postgresql://nobody@127.0.0.1:1/none")
