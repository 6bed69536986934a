"""Liveness and readiness of the worker, and the probes that they are based on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import psycopg
from confluent_kafka import KafkaException
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.watchdog import StallDetector
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.schemas.failure import Failure
from keepstream.schemas.record import TopicPartition
from keepstream.sinks.kafka.admin import KafkaAdmin, TopicMissingError
from keepstream.sinks.postgres.errors import reason_of
from keepstream.sinks.postgres.status import PostgresTotals
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

LOOP_STUCK_AFTER_S = 15.0
KAFKA, POSTGRES = "Kafka", "PostgreSQL"


@dataclass(slots=True)
class Health:
    """The state of ``/livez`` and ``/readyz``: read by the endpoint's threads, written on the worker's loop."""

    metrics: PrometheusMetrics
    assignment: Assignment | None = None
    stalls: StallDetector | None = None
    stopping: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    """Dependency -> why it is unavailable, as of the last probe."""
    _beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Record that the event loop runs."""
        self._beat_at = time.monotonic()

    def alive(self) -> tuple[bool, str]:
        """Return False only when a restart would help: a blocked loop, or a stalled partition.

        Never for an outage of Kafka or PostgreSQL, nor during a rebalance.
        """
        silent_s = time.monotonic() - self._beat_at
        if silent_s > LOOP_STUCK_AFTER_S:
            return False, f"the event loop has been blocked for {silent_s:.0f} s"
        if self.stalls and not self.stopping and (stall := self.stalls.stall()):
            return False, stall
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Return False while records cannot be settled, with every reason."""
        if self.stopping:
            return False, "stopping"
        lacks = [f"{part}: {why}" for part, why in sorted(self.missing.items())]
        if self.assignment and (group_error := self.assignment.group_error):
            lacks.append(f"group: not a member: {group_error}")
        if self.assignment:
            lacks += self.assignment.refused.values()
        if self.assignment is None or not self.assignment.ready:
            topics = self.assignment.waiting_topics if self.assignment else []
            of_topics = f" of {', '.join(topics)}" if topics else ""
            lacks.append(f"partitions{of_topics}: none assigned yet, or their stored offsets are not read yet")
        lacks += _paused_partitions(self.assignment.dispatcher.paused) if self.assignment else ()
        return (False, "; ".join(lacks)) if lacks else (True, "ready")


def _paused_partitions(paused: Mapping[TopicPartition, Failure]) -> Iterator[str]:
    """Yield how many partitions of each topic are paused, and why the first of them is."""
    for topic, found in groupby(sorted(paused.items(), key=itemgetter(0)), key=lambda one: one[0].topic):
        ((_, partition), failure), *others = found
        yield f"{1 + len(others)} partitions are paused; {topic}-{partition}: {failure.message}"


log = logging.getLogger(__name__)
PROBE_S = 10.0
FIRST_PROBE_S = 1.0
ASK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class DependencyProbe:
    """Probes Kafka and PostgreSQL: reports outages to `Health`, and PostgreSQL's totals to `PrometheusMetrics`."""

    health: Health
    metrics: PrometheusMetrics
    totals: Mapping[str, PostgresTotals]
    """By topic."""
    kafka: KafkaAdmin
    _other_topics: set[tuple[str, str]] = field(default_factory=set)

    async def run(self) -> None:
        await asyncio.sleep(FIRST_PROBE_S)
        while True:
            await asyncio.gather(*map(self._probe_postgres, self.totals))
            self._note(KAFKA, await asyncio.to_thread(self._kafka))
            await asyncio.sleep(PROBE_S)

    async def _probe_postgres(self, topic: str) -> None:
        name = POSTGRES if len(self.totals) == 1 else f"{POSTGRES} of {topic}"
        self._note(name, await self._postgres(topic))

    def _note(self, part: str, error: str | None) -> None:
        if error:
            if part not in self.health.missing:
                log.warning("not ready: %s: %s", part, error)
            self.health.missing[part] = error
        elif self.health.missing.pop(part, None):
            log.info("%s is available again", part)

    async def _postgres(self, topic: str) -> str | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                totals = await self.totals[topic].read()
            self.metrics.ledger_read(topic, totals)
            self._warn_of_other_topics(topic, {*totals.topics} - {topic})
        except psycopg.errors.UndefinedTable:
            return "a table is missing; run `keepstream db migrate`"
        except psycopg.Error as error:
            return f"it refuses: {reason_of(error)}" if error.sqlstate else "it does not answer"
        except (PoolTimeout, PoolClosed, TimeoutError):
            return "it does not answer"
        return None

    def _warn_of_other_topics(self, topic: str, found: set[str]) -> None:
        if new := {(topic, other) for other in found} - self._other_topics:
            self._other_topics.update(new)
            log.warning("the tables of %s also have events of %s: the same event_id in two topics is one event; give "
                        "each topic a schema (KEEPSTREAM_POSTGRES__SCHEMA_NAME, or of several schema_name in its own "
                        "postgres section)",
                        topic, ", ".join(sorted(other for _, other in new)))  # fmt: skip

    def _kafka(self) -> str | None:
        try:
            self.kafka.connect()
        except KafkaException:  # no token for OAUTHBEARER
            return "no client can log in"
        lacks = []
        for topic in self.totals:
            try:
                leaderless = self.kafka.leaderless(topic)
            except TopicMissingError as error:
                lacks.append(f"there is no topic {error.topic!r}")
            except KafkaException:
                return "it does not answer"
            else:
                of_topic = f" of {topic}" if len(self.totals) > 1 else ""
                lacks += [f"partitions {leaderless}{of_topic} have no leader"] if leaderless else []
        return "; ".join(lacks) or None


BEAT_S = 1.0
LOOP_LAG_WINDOW = 15
"""Beats of which the worst lag is exported: as long as a usual scrape interval."""


@dataclass(slots=True)
class GaugeSampler:
    """Sets the gauges once per second; ``check`` is called each time, and ends a process that cannot continue."""

    metrics: PrometheusMetrics
    health: Health
    assignment: Assignment
    check: Callable[[], None]
    _late_s: deque[float] = field(default_factory=lambda: deque(maxlen=LOOP_LAG_WINDOW))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._late_s.append(max(0.0, loop.time() - due))
            self.beat()

    def beat(self) -> None:
        """Set all gauges once."""
        self.metrics.loop_lag.set(max(self._late_s, default=0.0))
        self.health.beat()
        self.check()
        for topic, partition, lag in self.assignment.lags():
            self.metrics.lag.labels(topic, str(partition)).set(lag)
        waiting = (*self.assignment.dispatcher.paused, *self.assignment.delayed)
        paused = Counter(partition.topic for partition in waiting)
        for topic in self.metrics.topics:
            self.metrics.paused_partitions.labels(topic).set(paused[topic])
        queues = self.assignment.dispatcher.queues
        for queue in queues:
            self.metrics.oldest_unsettled.labels(queue.topic, str(queue.partition)).set(_oldest_s(queue))
        self.metrics.buffered.set(sum(queue.size_bytes for queue in queues))


def _oldest_s(queue: PartitionQueue) -> float:
    """Return the timestamp of the oldest unsettled record, in seconds since 1970; now when there is none."""
    timestamp_ms = queue.unsettled[0].records[0].timestamp if queue.unsettled else -1
    return timestamp_ms / 1000 if timestamp_ms > 0 else time.time()
