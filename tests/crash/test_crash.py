"""A short run of the kill harness, and the proof that it would see a broken promise.

The long run is ``make soak-crash``.
"""

import pytest

from tests.crash.run import run
from tests.support.databases import require

SEED = 20261121


@pytest.mark.timeout(300)
async def test_no_promise_is_broken_by_kills(database_kind: str) -> None:
    history = await run(database_kind, kills=4, seed=SEED)
    assert history.problems() == []
    figures = history.summary()
    assert figures["acknowledged"] == figures["stored"] > 50
    assert figures["returns"] == 16


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("early", "sqlite", "lost"),
        ("doubles", "postgresql", "doubled"),
        ("forgetful", "sqlite", "missing"),
    ],
)
async def test_a_deliberate_fault_is_seen(fault: str, kind: str, said: str) -> None:
    require(kind)
    history = await run(kind, kills=3, seed=SEED, fault=fault)
    assert any(said in problem for problem in history.problems())
