"""A short run of the kill harness, and the proof that it would see a broken promise.

The long run is ``make soak-crash``.
"""

import gzip
import json
from pathlib import Path

import pytest

from tests.crash.run import run
from tests.support.databases import require

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
    history = await run(kind, kills=3, seed=SEED, fault=fault, keep=keep)
    assert any(said in problem for problem in history.problems())
    assert keep.with_suffix(".log").exists()
