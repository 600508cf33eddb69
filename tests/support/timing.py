"""Whether two ways through the server take the same time, told from paired measurements."""

import random
import statistics
from collections.abc import Sequence

RESAMPLES = 2_000


def median_interval(differences: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """The middle 95 % of the medians of samples drawn with replacement: the bootstrap interval of the
    median difference (Efron, 1979), in the unit of the differences."""
    draw = random.Random(seed).choices
    size = len(differences)
    medians = sorted(statistics.median(draw(differences, k=size)) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40 - 1]
