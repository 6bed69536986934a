"""Collectors read at each scrape, a histogram with weighted observations, and the registry."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client import disable_created_metrics as _disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from keepstream.schemas.outcome import Totals
from keepstream.sinks.prometheus import catalogue
from keepstream.sinks.prometheus.catalogue import CLOSED, Kind, Metric

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


class PoolStatistics(Collector):
    """Statistics of the connection pools. ``stats`` are theirs by topic."""

    def __init__(self) -> None:
        self.stats: dict[str, Callable[[], Mapping[str, float]]] = {}

    def collect(self) -> Iterator[Family]:
        found = {topic: stats() for topic, stats in self.stats.items()}
        for metric, key, factor in POOL:
            made = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = made(metric.family, metric.help, labels=metric.labels)
            for topic, stats in found.items():
                family.add_metric([topic], stats.get(key, 0) * factor)
            yield family


class ExactTotals(Collector):
    """Totals of PostgreSQL as last read, by topic; no series before the first reading."""

    def __init__(self) -> None:
        self.by_topic: dict[str, Totals] = {}

    def collect(self) -> Iterator[Family]:
        recorded = CounterMetricFamily(
            catalogue.RECORDED.family, catalogue.RECORDED.help, labels=catalogue.RECORDED.labels
        )
        replays = GaugeMetricFamily(
            catalogue.DLQ_REPLAYS.family, catalogue.DLQ_REPLAYS.help, labels=catalogue.DLQ_REPLAYS.labels
        )
        for topic, totals in list(self.by_topic.items()):
            for outcome, count in totals.outcomes.items():
                recorded.add_metric([topic, outcome], count)
            for outcome, count in totals.replay_outcomes.items():
                replays.add_metric([topic, outcome], count)
        yield recorded
        yield replays


class EventHistogram(Collector):
    """Histogram that counts a whole batch with one observation; that of prometheus_client takes one event each.

    Written by one thread. A scrape from another may see an incomplete observation, and the complete one next time.
    """

    def __init__(self, metric: catalogue.Metric, labels: Iterable[str]) -> None:
        """``labels``: values of the metric's one label whose series start at zero."""
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


Series = TypeVar("Series", Counter, Gauge, Histogram)

_disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricRegistry:
    """Registry of all metrics of the exposition: keepstream's, the process's and the interpreter's."""

    def __init__(self, topics: Iterable[str]) -> None:
        self._registry = CollectorRegistry()
        self._known: dict[str, Sequence[str]] = {**CLOSED, "topic": tuple(topics)}
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def counter(self, metric: Metric, values: Mapping[str, Sequence[str]] | None = None) -> Counter:
        """Create a counter. ``values``: label values of this metric alone."""
        return self._from_zero(
            Counter(metric.family, metric.help, metric.labels, registry=self._registry), metric, values
        )

    def gauge(self, metric: Metric) -> Gauge:
        return self._from_zero(Gauge(metric.family, metric.help, metric.labels, registry=self._registry), metric)

    def histogram(self, metric: Metric) -> Histogram:
        made = Histogram(metric.family, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)
        return self._from_zero(made, metric)

    def add(self, collector: Collector) -> None:
        """Register a collector that is read at each scrape."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """Return the exposition text of all metrics."""
        return generate_latest(self._registry)

    def _from_zero(self, made: Series, metric: Metric, values: Mapping[str, Sequence[str]] | None = None) -> Series:
        """Create the series at zero: one that appears with its first event is no increase, and an alert misses it."""
        known = {**self._known, **(values or {})}
        if metric.labels and known.keys() >= set(metric.labels):
            for labels in product(*(known[name] for name in metric.labels)):
                made.labels(*map(str, labels))
        return made
