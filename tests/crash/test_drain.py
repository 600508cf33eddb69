"""A short run of the drains, the proof that it would see a broken promise, and its checker alone.

The long run is ``make soak-drain``.
"""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.crash.drain import Drains, Ending, drain
from tests.crash.test_crash import require_pair


@pytest.mark.timeout(300)
async def test_no_call_notices_that_a_server_goes() -> None:
    require_pair()
    drains = await drain(2, callers=4, streams=12)
    assert drains.problems() == []
    figures = drains.summary()
    assert figures["sigterms"] == 2
    assert figures["calls"] > 50
    assert figures["streams_ended"] >= 12


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("fault", "said"), [("silent", "untold"), ("hasty", "health")])
async def test_a_deliberate_fault_is_seen(fault: str, said: str) -> None:
    require_pair()
    # Each of the two is ended: Envoy may have given all streams to one of them.
    drains = await drain(2, fault, callers=4, streams=6, drain_seconds=3.0)
    assert any(said in problem for problem in drains.problems())


def whole() -> Drains:
    """Two ended, with three streams in all."""
    return Drains(
        calls=Counter(OK=100),
        told=3,
        endings=[Ending(0, 2.0, 0.01, 1), Ending(0, 2.5, 0.02, 2)],
    )


def failed(drains: Drains) -> None:
    drains.calls["UNAVAILABLE: gone"] += 1


def untold(drains: Drains) -> None:
    drains.untold.append("UNAVAILABLE: Cancelling all calls")


def forgotten(drains: Drains) -> None:
    drains.told -= 1


def broken(drains: Drains) -> None:
    drains.broken.append("broken: 7 came after 5")


def crashed(drains: Drains) -> None:
    drains.endings[0] = Ending(1, 2.0, 0.01, 1)


def slow(drains: Drains) -> None:
    drains.endings[1] = Ending(0, 31.0, 0.02, 2)


def unhealthy(drains: Drains) -> None:
    drains.endings[1] = Ending(0, 2.5, 0.2, 2)


def test_kept_promises() -> None:
    assert whole().problems() == []


@pytest.mark.parametrize(
    ("breakage", "said"),
    [
        (failed, "failed: 1 calls with UNAVAILABLE"),
        (untold, "untold: UNAVAILABLE"),
        (forgotten, "untold: 2 streams"),
        (broken, "7 came after 5"),
        (crashed, "status: server 1 ended with 1"),
        (slow, "slow: server 2"),
        (unhealthy, "health: server 2"),
    ],
)
def test_broken_promises(breakage: Callable[[Drains], None], said: str) -> None:
    drains = whole()
    breakage(drains)
    assert any(said in problem for problem in drains.problems())
