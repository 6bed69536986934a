"""The metrics of the catalogue, updated by the worker and rendered for a scrape."""

from __future__ import annotations

import platform
import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import product

from prometheus_client import Counter, Gauge

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.failure import Failure, Step
from keepstream.schemas.outcome import Outcome, OutcomeCounts, Totals
from keepstream.sinks.prometheus import catalogue
from keepstream.sinks.prometheus.catalogue import CONTRACT_REASONS, KNOWN_FAILURES, BatchOutcome
from keepstream.sinks.prometheus.collectors import EventHistogram, ExactTotals, MetricRegistry, PoolStatistics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class PrometheusMetrics:
    """The series of `keepstream.sinks.prometheus.catalogue`, of all topics of a worker.

    Counters are for rates and start at zero with the process; exact totals are in the table ``event_counters``.
    """

    def __init__(self, topics: Iterable[str] = ()) -> None:
        self.topics = tuple(topics)
        self._registry = MetricRegistry(self.topics)
        self._declare_flow(self._registry)
        self._declare_failures(self._registry)
        self._declare_dead_letters(self._registry)
        self.end_to_end = EventHistogram(catalogue.END_TO_END, self.topics)
        self._topic = cache(self._children)
        self._batches = {outcome: self.batches.labels(outcome.value) for outcome in BatchOutcome}
        self._totals = ExactTotals()
        self._registry.add(self.end_to_end)
        self._registry.add(self._totals)
        self._pools = PoolStatistics()
        self._registry.add(self._pools)

    def _declare_flow(self, registry: MetricRegistry) -> None:
        self.received = registry.counter(catalogue.RECEIVED)
        self.processed = registry.counter(catalogue.PROCESSED)
        self.abandoned = registry.counter(catalogue.ABANDONED)
        self.in_progress = registry.gauge(catalogue.IN_PROGRESS)
        self.batches = registry.counter(catalogue.BATCHES, {"outcome": tuple(BatchOutcome)})
        self.batch_events = registry.histogram(catalogue.BATCH_EVENTS)
        self.step_duration = registry.histogram(catalogue.STEP_DURATION)
        self.last_processed = registry.gauge(catalogue.LAST_PROCESSED)
        self.oldest_unsettled = registry.gauge(catalogue.OLDEST_UNSETTLED)
        self.lag = registry.gauge(catalogue.LAG)
        self.assigned = registry.gauge(catalogue.ASSIGNED)
        self.rebalances = registry.counter(catalogue.REBALANCES)
        self.buffered = registry.gauge(catalogue.BUFFERED)
        self.loop_lag = registry.gauge(catalogue.LOOP_LAG)
        self._build_info = registry.gauge(catalogue.BUILD_INFO)

    def _declare_failures(self, registry: MetricRegistry) -> None:
        self.step_failures = registry.counter(catalogue.STEP_FAILURES)
        self.step_retries = registry.counter(catalogue.STEP_RETRIES)
        self.paused_partitions = registry.gauge(catalogue.PAUSED)
        self.fences = registry.counter(catalogue.FENCED)
        self.offset_gaps = registry.counter(catalogue.OFFSET_GAP)
        self.commit_failures = registry.counter(catalogue.COMMIT_FAILURES)
        self.log_records = registry.counter(catalogue.LOG_RECORDS)
        for topic, (step, verdict, reason) in product(self.topics, KNOWN_FAILURES):
            self.step_failures.labels(topic, step.value, verdict.value, reason)

    def _declare_dead_letters(self, registry: MetricRegistry) -> None:
        self.dlq_published = registry.counter(catalogue.DLQ_PUBLISHED)
        self.dlq_publish_failures = registry.counter(catalogue.DLQ_PUBLISH_FAILURES)
        self.dlq_publish_duration = registry.histogram(catalogue.DLQ_PUBLISH_DURATION)
        self.dlq_open = registry.gauge(catalogue.DLQ_OPEN)
        self.dlq_oldest = registry.gauge(catalogue.DLQ_OLDEST)
        self.ledger_read_at = registry.gauge(catalogue.LEDGER_READ)
        for topic, reason in product(self.topics, CONTRACT_REASONS):
            self.dlq_published.labels(topic, Step.VALIDATE.value, reason)

    def _children(self, topic: str) -> tuple[Counter, Gauge, list[tuple[str, Counter]]]:
        """Return the series of a topic, cached: prometheus_client's ``labels`` takes longer than counting."""
        processed = [(outcome.value, self.processed.labels(topic, outcome.value)) for outcome in Outcome]
        return self.received.labels(topic), self.in_progress.labels(topic), processed

    def set_build_info(self, version: str, faust: str) -> None:
        self._build_info.labels(version, platform.python_version(), faust).set(1)

    def watch_pool(self, topic: str, stats: Callable[[], Mapping[str, float]]) -> None:
        """Export the statistics of a topic's connection pool at each scrape."""
        self._pools.stats[topic] = stats

    def render(self) -> bytes:
        """Return the exposition text of all metrics."""
        return self._registry.render()

    def batch_started(self, topic: str, records: int) -> None:
        received, in_progress, _ = self._topic(topic)
        received.inc(records)
        in_progress.inc(records)

    def batch_ended(self, topic: str, records: int, outcome: BatchOutcome) -> None:
        """Finish a batch counted by `batch_started`. Only a settled batch was passed to `batch_settled` before."""
        self._topic(topic)[1].dec(records)
        self._batches[outcome].inc()
        if outcome is not BatchOutcome.SETTLED:
            self.abandoned.labels(topic).inc(records)

    def batch_settled(self, topic: str, partition: int, counts: OutcomeCounts, oldest_timestamp_ms: int) -> None:
        now = time.time()
        for name, processed in self._topic(topic)[2]:
            if count := getattr(counts, name):
                processed.inc(count)
        self.batch_events.observe(counts.total)
        self.last_processed.labels(topic, str(partition)).set(now)
        if oldest_timestamp_ms > 0:
            self.end_to_end.observe(topic, max(0.0, now - oldest_timestamp_ms / 1000), counts.total)

    def step_timer(self, topic: str) -> Callable[[Step, float], None]:
        """Return what records the durations of a topic's steps; their series are looked up once."""
        observe = {step: self.step_duration.labels(topic, step.value).observe for step in Step}
        return lambda step, duration_s: observe[step](duration_s)

    def publish_took(self, duration_s: float) -> None:
        self.dlq_publish_duration.observe(duration_s)

    def attempt_failed(self, topic: str, failure: Failure, *, retried: bool) -> None:
        self.step_failures.labels(topic, failure.step.value, failure.verdict.value, failure.reason).inc()
        if failure.reason == "dlq_unavailable":
            self.dlq_publish_failures.labels(topic).inc()
        if retried:
            self.step_retries.labels(topic, failure.step.value).inc()

    def dead_lettered(self, dead_letters: Sequence[DeadLetter]) -> None:
        causes = Multiset((one.record.topic, one.failure.step.value, one.failure.reason) for one in dead_letters)
        for labels, count in causes.items():
            self.dlq_published.labels(*labels).inc(count)

    def partition_gone(self, topic: str, partition: int) -> None:
        """Remove the series of a revoked partition."""
        for gauge in (self.lag, self.last_processed, self.oldest_unsettled):
            gauge.remove(topic, str(partition))

    def ledger_read(self, topic: str, totals: Totals) -> None:
        """Publish what PostgreSQL counted of a topic."""
        self._totals.by_topic[topic] = totals
        self.dlq_open.labels(topic).set(totals.open_dead_letters)
        self.dlq_oldest.labels(topic).set(totals.oldest_open_at.timestamp() if totals.oldest_open_at else 0)
        self.ledger_read_at.labels(topic).set_to_current_time()
