"""A short run of the kill harness, and the proof that it would see a broken promise.

The long runs are ``make soak-crash`` and ``make soak-pair``.
"""

import gzip
import json
from pathlib import Path

import pytest

from tests.crash.run import NEMESES, run
from tests.support.databases import require
from tests.support.valkey import ValkeyMissing, valkey_server

SEED = 20261121


@pytest.mark.timeout(300)
async def test_no_promise_is_broken_by_kills(database_kind: str, tmp_path: Path) -> None:
    keep = tmp_path / "history.jsonl.gz"
    history = await run(database_kind, kills=4, seed=SEED, keep=keep)
    assert history.problems() == []
    figures = history.summary()
    assert figures["stored"] >= figures["acknowledged"] > 50
    assert figures["attempted"] > figures["acknowledged"]
    assert figures["returns"] >= 4
    assert not keep.with_suffix(".log").exists()
    with gzip.open(keep, "rt") as journal:
        did = [json.loads(line)["did"] for line in journal]
    assert did[0] == "run"
    assert did.count("kill") == 4
    assert did.count("acknowledged") == figures["acknowledged"]
    assert did.count("read") == figures["reads"] == 4 * figures["stored"]


def require_pair() -> None:
    """Skips the test where there is no PostgreSQL or no Valkey."""
    require("postgresql")
    try:
        with valkey_server():
            pass
    except ValkeyMissing as reason:
        pytest.skip(str(reason))


@pytest.mark.timeout(300)
async def test_no_promise_is_broken_by_one_of_two(tmp_path: Path) -> None:
    """Each server is killed twice, the bus goes away meanwhile, and PostgreSQL starts again."""
    require_pair()
    keep = tmp_path / "history.jsonl.gz"
    history = await run("postgresql", 4, SEED, keep=keep, servers=2, nemeses=NEMESES)
    assert history.problems() == []
    figures = history.summary()
    assert figures["stored"] >= figures["acknowledged"] > 50
    assert figures["returns"] >= 4
    assert history.incidents["kill"] == 4
    assert min(history.incidents[nemesis] for nemesis in ("bus", "postgres")) >= 1


@pytest.mark.timeout(300)
async def test_servers_that_do_not_hear_of_each_other_are_seen(tmp_path: Path) -> None:
    require_pair()
    history = await run("postgresql", 2, SEED, fault="deaf", keep=tmp_path / "h", servers=2)
    assert any("missing" in problem for problem in history.problems())


@pytest.mark.timeout(300)
async def test_a_reply_before_its_commit_is_seen_when_the_database_crashes(tmp_path: Path) -> None:
    require("postgresql")
    history = await run(
        "postgresql", 3, SEED, fault="early", keep=tmp_path / "h", nemeses=("kill", "postgres")
    )
    assert history.incidents["postgres"] >= 1
    assert any("lost" in problem for problem in history.problems())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("early", "sqlite", "lost"),
        ("doubles", "postgresql", "doubled"),
        ("forgetful", "sqlite", "missing"),
    ],
)
async def test_a_deliberate_fault_is_seen(fault: str, kind: str, said: str, tmp_path: Path) -> None:
    require(kind)
    keep = tmp_path / "history.jsonl.gz"
    found: list[str] = []
    # A kill hits the moment that matters by chance; on a busy machine three may all miss it.
    for attempt in range(3):
        history = await run(kind, kills=3, seed=SEED + attempt, fault=fault, keep=keep)
        found = [problem for problem in history.problems() if said in problem]
        if found:
            break
    assert found
    assert keep.with_suffix(".log").exists()
