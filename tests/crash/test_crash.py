"""A short run of the kill harness, and the proof that it would see a broken promise.

The long runs are ``make soak-crash`` and ``make soak-pair``.
"""

import gzip
import json
from pathlib import Path
from typing import Any

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


async def seen(said: str, keep: Path, kind: str, kills: int, **how: Any) -> bool:
    """Whether a run finds a deliberate fault. A kill hits the moment that matters by chance; on a busy
    machine all kills of a run may miss it, hence up to three runs."""
    for attempt in range(3):
        history = await run(kind, kills, SEED + attempt, keep=keep, **how)
        assert all(history.incidents[nemesis] for nemesis in how.get("nemeses", ()))
        if any(said in problem for problem in history.problems()):
            return keep.with_suffix(".log").exists()
    return False


@pytest.mark.timeout(300)
async def test_servers_that_do_not_hear_of_each_other_are_seen(tmp_path: Path) -> None:
    require_pair()
    keep = tmp_path / "history.jsonl.gz"
    assert await seen("missing", keep, "postgresql", 2, fault="deaf", servers=2)


@pytest.mark.timeout(300)
async def test_a_reply_before_its_commit_is_seen_when_the_database_crashes(tmp_path: Path) -> None:
    require("postgresql")
    keep = tmp_path / "history.jsonl.gz"
    nemeses = ("kill", "postgres")
    assert await seen("lost", keep, "postgresql", 3, fault="early", nemeses=nemeses)


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
    assert await seen(said, tmp_path / "history.jsonl.gz", kind, 3, fault=fault)
