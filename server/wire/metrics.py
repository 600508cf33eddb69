"""Prometheus figures of the calls, on a port of their own.

Calls are counted in plain integers, beside the making of their log lines, and turned into Prometheus'
form when they are asked for: a finished call costs well under a microsecond.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from server.wire.logs import Line

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the duration histogram, in seconds."""


class MethodFigures:
    """What is counted of one method."""

    __slots__ = ("codes", "durations", "method", "seconds")

    def __init__(self, method: str) -> None:
        self.method = method
        self.codes: dict[str, int] = {}
        self.durations = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class CallMetrics(Collector):
    """All methods' figures, as ``greenroom_rpc_calls_total`` and ``greenroom_rpc_seconds``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._figures: dict[str, MethodFigures] = {}
        self.settle: Callable[[], None] | None = None
        """Counts the calls that have ended and are not counted yet; in any thread."""
        self.open_streams = Gauge(
            "greenroom_rpc_open_streams", "Streams that are open.", registry=registry
        )
        self.unary_in_flight = Gauge(
            "greenroom_rpc_unary_in_flight", "Unary calls being worked on.", registry=registry
        )
        registry.register(self)

    def add(self, method: str) -> None:
        """Has a method shown from now on, with no calls; its name must come from a descriptor, never
        from a caller."""
        self._figures[method] = MethodFigures(method)

    def count(self, lines: "Iterable[Line]") -> None:
        """Counts the finished calls of methods that were added."""
        for _, call, code, seconds, _, _ in lines:
            figures = self._figures[call.method]
            figures.codes[code] = figures.codes.get(code, 0) + 1
            figures.durations[bisect_left(BUCKETS, seconds)] += 1
            figures.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        """Prometheus' form of the figures."""
        calls = CounterMetricFamily(
            "greenroom_rpc_calls", "Finished calls.", labels=["method", "code"]
        )
        seconds = HistogramMetricFamily(
            "greenroom_rpc_seconds", "Duration of finished calls.", labels=["method"]
        )
        if self.settle is not None:
            self.settle()
        for figures in list(self._figures.values()):
            for code, count in list(figures.codes.items()):
                calls.add_metric([figures.method, code], count)
            seconds.add_metric([figures.method], _cumulated(figures.durations), figures.seconds)
        return [calls, seconds]


def _cumulated(counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
