"""Metrics that are read at the moment of the scrape, and a histogram that takes many events at once."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from keepstream.sinks.prometheus import catalogue
from keepstream.sinks.prometheus.catalogue import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric as Family

    from keepstream.schemas.standing import Standing

POOL = (
    (catalogue.POOL_CONNECTIONS, "pool_size", 1.0),
    (catalogue.POOL_AVAILABLE, "pool_available", 1.0),
    (catalogue.POOL_WAITING, "requests_waiting", 1.0),
    (catalogue.POOL_REQUESTS, "requests_num", 1.0),
    (catalogue.POOL_WAIT, "requests_wait_ms", 0.001),
    (catalogue.POOL_ERRORS, "requests_errors", 1.0),
    (catalogue.POOL_LOST, "connections_lost", 1.0),
)
"""(metric, key of psycopg_pool's statistics, factor to our unit). A key appears there once it is not zero."""


class PoolFigures(Collector):
    """The connection pool's own statistics."""

    def __init__(self, stats: Callable[[], Mapping[str, float]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Family]:
        stats = self._stats()
        for metric, key, factor in POOL:
            family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            yield family(metric.family, metric.help, value=stats.get(key, 0) * factor)


class ExactTotals(Collector):
    """What PostgreSQL counted, as it was last read; no series before the first reading."""

    def __init__(self) -> None:
        self.standing: Standing | None = None

    def collect(self) -> Iterator[Family]:
        recorded = CounterMetricFamily(catalogue.RECORDED.family, catalogue.RECORDED.help, labels=["outcome"])
        replays = GaugeMetricFamily(catalogue.DLQ_REPLAYS.family, catalogue.DLQ_REPLAYS.help, labels=["outcome"])
        if self.standing is not None:
            for outcome, count in self.standing.outcomes.items():
                recorded.add_metric([outcome], count)
            for outcome, count in self.standing.replay_outcomes.items():
                replays.add_metric([outcome], count)
        yield recorded
        yield replays


class EventHistogram(Collector):
    """A histogram that counts a whole batch with one observation. prometheus_client's takes one event at a time.

    Written by one thread; a scrape from another may see an observation half made, and sees it whole the next time.
    """

    def __init__(self, metric: catalogue.Metric, labels: Iterable[str]) -> None:
        """``labels``: values of the metric's one label whose series are there from the start."""
        self._metric = metric
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        for label in labels:
            self.observe(label, 0.0, 0)

    def observe(self, label: str, value: float, events: int) -> None:
        counts = self._counts.setdefault(label, [0] * (len(self._metric.buckets) + 1))
        counts[bisect_left(self._metric.buckets, value)] += events
        self._sums[label] = self._sums.get(label, 0.0) + value * events

    def collect(self) -> Iterator[Family]:
        family = HistogramMetricFamily(self._metric.family, self._metric.help, labels=self._metric.labels)
        bounds = [*(str(float(bound)) for bound in self._metric.buckets), "+Inf"]
        for label, counts in list(self._counts.items()):
            family.add_metric([label], list(zip(bounds, accumulate(counts), strict=True)), self._sums[label])
        yield family
