"""The statistics behind ``make soak-timing`` see a difference that is there, and none that is not."""

import random

from tests.support.timing import median_interval


def measured(shift: float, pairs: int = 500) -> list[float]:
    """Differences in milliseconds as a busy machine gives them: noise with a long tail."""
    noise = random.Random(7)
    return [
        shift + noise.gauss(0, 1) + noise.choice((-1, 1)) * noise.expovariate(0.5)
        for _ in range(pairs)
    ]


def test_no_difference_is_within_two_milliseconds() -> None:
    low, high = median_interval(measured(0.0))
    assert -2 < low <= 0.2 and -0.2 <= high < 2


def test_a_hash_that_is_left_out_is_seen() -> None:
    low, _high = median_interval(measured(3.0))
    assert low > 2
