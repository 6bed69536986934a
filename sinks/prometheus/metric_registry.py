"""From the catalogue to prometheus_client: every series whose labels are known exists from the start, as zero."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client import disable_created_metrics as _disable_created_metrics
from prometheus_client.exposition import generate_latest

from keepstream.sinks.prometheus.catalogue import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from prometheus_client.registry import Collector

    from keepstream.sinks.prometheus.catalogue import Metric

Series = TypeVar("Series", Counter, Gauge, Histogram)

_disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricRegistry:
    """One exposition: ours, the process's and the interpreter's figures."""

    def __init__(self, topics: Iterable[str]) -> None:
        self._registry = CollectorRegistry()
        self._known: dict[str, Sequence[str]] = {**CLOSED, "topic": tuple(topics)}
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def counter(self, metric: Metric, values: Mapping[str, Sequence[str]] | None = None) -> Counter:
        """``values`` are a label's values where this metric has its own."""
        return self._from_zero(
            Counter(metric.family, metric.help, metric.labels, registry=self._registry), metric, values
        )

    def gauge(self, metric: Metric) -> Gauge:
        return self._from_zero(Gauge(metric.family, metric.help, metric.labels, registry=self._registry), metric)

    def histogram(self, metric: Metric) -> Histogram:
        made = Histogram(metric.family, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets)
        return self._from_zero(made, metric)

    def add(self, collector: Collector) -> None:
        """Ask a collector of our own at each scrape."""
        self._registry.register(collector)

    def render(self) -> bytes:
        """Return the exposition text of all metrics."""
        return generate_latest(self._registry)

    def _from_zero(self, made: Series, metric: Metric, values: Mapping[str, Sequence[str]] | None = None) -> Series:
        """Make series exist: one that appears with its first event is no increase, and an alert would miss it."""
        known = {**self._known, **(values or {})}
        if metric.labels and known.keys() >= set(metric.labels):
            for labels in product(*(known[name] for name in metric.labels)):
                made.labels(*map(str, labels))
        return made
