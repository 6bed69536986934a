"""Prometheus: the catalogue of metrics, each declared once, and what a scrape returns."""

from __future__ import annotations

import time
from collections import Counter as Tallies
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client import disable_created_metrics as _disable_created_metrics
from prometheus_client.exposition import generate_latest

from schemas.failure import Step
from schemas.outcome import Fate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from schemas.dead_letter import DeadLetter
    from schemas.failure import Failure
    from schemas.outcome import Tally

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STEP_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_END_TO_END_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_BATCH_BUCKETS = (1, 5, 10, 25, 50, 75, 100, 250, 500)

_disable_created_metrics()  # type: ignore[no-untyped-call]


class PrometheusMetrics:
    """What `processors.ports.Metrics` tells, as Prometheus series with the prefix ``keepstream_``.

    Counters are for rates and start at zero with the process; exact totals are in the table ``event_counters``.
    """

    def __init__(self, topics: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._declare_flow()
        self._declare_trouble()
        for topic in topics:
            self.received.labels(topic)
            for fate in Fate:
                self.processed.labels(topic, fate.value)
        self._paused: dict[tuple[str, int], str] = {}

    def _declare_flow(self) -> None:
        registry = self.registry
        self.received = Counter("keepstream_events_received", "Records taken off Kafka.", ["topic"], registry=registry)
        self.processed = Counter(
            "keepstream_events_processed",
            "Records settled, by what became of them; the sum over outcome follows events_received.",
            ["topic", "outcome"],
            registry=registry,
        )
        self.batch_events = Histogram(
            "keepstream_batch_events", "Records per batch: full batches mean a backlog.",
            buckets=_BATCH_BUCKETS, registry=registry,
        )  # fmt: skip
        self.step_duration = Histogram(
            "keepstream_step_duration_seconds", "How long a step took for one batch.",
            ["step"], buckets=_STEP_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self.end_to_end = Histogram(
            "keepstream_event_end_to_end_seconds",
            "From the Kafka timestamp of a batch's oldest record to its commit in PostgreSQL.",
            ["topic"], buckets=_END_TO_END_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self.last_processed = Gauge(
            "keepstream_last_processed_timestamp_seconds", "When a batch of the partition was last settled.",
            ["topic", "partition"], registry=registry,
        )  # fmt: skip
        self.lag = Gauge(
            "keepstream_consumer_lag_events", "Records between the settled offset and the end of the partition.",
            ["topic", "partition"], registry=registry,
        )  # fmt: skip
        self.assigned = Gauge("keepstream_assigned_partitions", "Partitions this worker owns.", registry=registry)
        self.rebalances = Counter("keepstream_rebalances", "Assignments received.", registry=registry)

    def _declare_trouble(self) -> None:
        registry = self.registry
        self.step_failures = Counter(
            "keepstream_step_failures", "Attempts of a step that failed, by stable reason.",
            ["step", "verdict", "reason"], registry=registry,
        )  # fmt: skip
        self.step_retries = Counter(
            "keepstream_step_retries", "Failed attempts that were tried again.", ["step"], registry=registry
        )
        self.dlq_published = Counter(
            "keepstream_dlq_published", "Dead letters confirmed by the broker.", ["step", "reason"], registry=registry
        )
        self.dlq_publish_failures = Counter(
            "keepstream_dlq_publish_failures", "Attempts to publish dead letters that failed: the partition waits.",
            registry=registry,
        )  # fmt: skip
        self.paused_partitions = Gauge(
            "keepstream_paused_partitions", "Partitions held because the environment is ill.", registry=registry
        )
        self.fences = Counter(
            "keepstream_fenced_batches", "Batches refused because another worker had moved the offset.",
            registry=registry,
        )  # fmt: skip
        self.offset_gaps = Counter(
            "keepstream_offset_gap_events", "Records that retention deleted before they were read.",
            ["topic"], registry=registry,
        )  # fmt: skip
        self.commit_failures = Counter(
            "keepstream_offset_commit_failures",
            "Commits of offsets to Kafka that failed; PostgreSQL holds the truth, lag tools will look behind.",
            registry=registry,
        )
        self.build_info = Gauge("keepstream_build_info", "1, with the versions.", ["version"], registry=registry)
        self.loop_lag = Gauge("keepstream_event_loop_lag_seconds", "How late the event loop runs.", registry=registry)
        for step in Step:
            self.step_retries.labels(step.value)

    def watch_pool(self, stats: Callable[[], Mapping[str, float]]) -> None:
        """Export the connection pool's own figures at each scrape."""
        for name, key, text in (
            ("connections", "pool_size", "Connections to PostgreSQL."),
            ("connections_available", "pool_available", "Connections that nobody uses."),
            ("requests_waiting", "requests_waiting", "Batches that wait for a connection."),
        ):
            gauge = Gauge(f"keepstream_db_pool_{name}", text, registry=self.registry)
            gauge.set_function(partial(_stat, stats, key))

    def render(self) -> bytes:
        """Return the exposition text of all metrics."""
        return generate_latest(self.registry)

    @property
    def pauses(self) -> dict[tuple[str, int], str]:
        """Why partitions are held right now: (topic, partition) -> reason."""
        return dict(self._paused)

    def batch_settled(self, topic: str, partition: int, tally: Tally, oldest_timestamp_ms: int) -> None:
        now = time.time()
        self.received.labels(topic).inc(tally.total)
        for fate in Fate:
            if count := getattr(tally, fate.value):
                self.processed.labels(topic, fate.value).inc(count)
        self.batch_events.observe(tally.total)
        self.last_processed.labels(topic, str(partition)).set(now)
        if oldest_timestamp_ms > 0:
            self.end_to_end.labels(topic).observe(max(0.0, now - oldest_timestamp_ms / 1000))

    def step_took(self, step: Step, duration_s: float) -> None:
        self.step_duration.labels(step.value).observe(duration_s)

    def attempt_failed(self, failure: Failure, *, retried: bool) -> None:
        self.step_failures.labels(failure.step.value, failure.verdict.value, failure.reason).inc()
        if retried:
            self.step_retries.labels(failure.step.value).inc()

    def dead_lettered(self, letters: Sequence[DeadLetter]) -> None:
        causes = Tallies((letter.failure.step.value, letter.failure.reason) for letter in letters)
        for (step, reason), count in causes.items():
            self.dlq_published.labels(step, reason).inc(count)

    def paused(self, topic: str, partition: int, failure: Failure) -> None:
        if failure.reason == "dlq_unavailable":
            self.dlq_publish_failures.inc()
        self.attempt_failed(failure, retried=True)
        self._paused[topic, partition] = failure.message
        self.paused_partitions.set(len(self._paused))

    def resumed(self, topic: str, partition: int) -> None:
        self._paused.pop((topic, partition), None)
        self.paused_partitions.set(len(self._paused))

    def fenced(self, topic: str, partition: int) -> None:
        self.resumed(topic, partition)
        self.fences.inc()

    def partition_gone(self, topic: str, partition: int) -> None:
        """Remove the series of a partition that somebody else owns now."""
        self.resumed(topic, partition)
        for gauge in (self.lag, self.last_processed):
            gauge.remove(topic, str(partition))


def _stat(stats: Callable[[], Mapping[str, float]], key: str) -> float:
    return stats().get(key, 0)
