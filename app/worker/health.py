"""Whether the worker is alive, and whether it is ready. Two questions, two answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.watchdog import StallDetector
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.schemas.record import TopicPartition
from keepstream.sinks.postgres.errors import reason_of
from keepstream.sinks.postgres.status import PostgresTotals
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

LOOP_STUCK_AFTER_S = 15.0
KAFKA, POSTGRES = "Kafka", "PostgreSQL"


@dataclass(slots=True)
class Health:
    """Read from the endpoint's threads; written by the worker's loop."""

    metrics: PrometheusMetrics
    assignment: Assignment | None = None
    progress: StallDetector | None = None
    stopping: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    """Part -> what is wrong with it, as the last probe found it."""
    _beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._beat_at = time.monotonic()

    def alive(self) -> tuple[bool, str]:
        """Fail only when restarting would help: a stuck loop, or a partition that has work and stands still.

        Never for an outage of Kafka or PostgreSQL, nor during a rebalance.
        """
        silent_s = time.monotonic() - self._beat_at
        if silent_s > LOOP_STUCK_AFTER_S:
            return False, f"the event loop has not turned for {silent_s:.0f} s"
        if self.progress and not self.stopping and (standstill := self.progress.standstill()):
            return False, standstill
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Fail while records cannot be settled, and name every part that is missing."""
        if self.stopping:
            return False, "stopping"
        lacks = [f"{part}: {why}" for part, why in sorted(self.missing.items())]
        if self.assignment is None or not self.assignment.ready:
            lacks.append("partitions: none assigned yet, or their stored offsets are not read yet")
        pauses = self.metrics.pauses
        if pauses:
            (topic, partition), why = next(iter(sorted(pauses.items())))
            lacks.append(f"{len(pauses)} partitions are held; {topic}-{partition}: {why}")
        return (False, "; ".join(lacks)) if lacks else (True, "ready")


log = logging.getLogger(__name__)
PROBE_S = 10.0
FIRST_PROBE_S = 1.0
ASK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class DependencyProbe:
    """Tells `Health` which part is missing, and `PrometheusMetrics` what PostgreSQL counted."""

    health: Health
    metrics: PrometheusMetrics
    standing: PostgresTotals
    kafka: KafkaSettings

    async def run(self) -> None:
        await asyncio.sleep(FIRST_PROBE_S)
        admin: AdminClient | None = None
        while True:
            self._note(POSTGRES, await self._postgres())
            if admin is None:
                admin = await asyncio.to_thread(self._admin)
            self._note(KAFKA, "no client can log in" if admin is None else await asyncio.to_thread(self._kafka, admin))
            await asyncio.sleep(PROBE_S)

    def _note(self, part: str, trouble: str | None) -> None:
        if trouble and part not in self.health.missing:
            log.warning("%s is missing: %s", part, trouble)
        elif not trouble and part in self.health.missing:
            log.info("%s is back", part)
        if trouble:
            self.health.missing[part] = trouble
        else:
            self.health.missing.pop(part, None)

    async def _postgres(self) -> str | None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                self.metrics.ledger_read(await self.standing.read())
        except psycopg.errors.UndefinedTable:
            return "a table is missing; run `keepstream db migrate`"
        except psycopg.Error as error:
            return f"it refuses: {reason_of(error)}" if error.sqlstate else "it does not answer"
        except (PoolTimeout, PoolClosed, TimeoutError):
            return "it does not answer"
        return None

    def _admin(self) -> AdminClient | None:
        try:
            return AdminClient({**librdkafka_settings(self.kafka), "log_level": 0})
        except KafkaException:  # no token for OAUTHBEARER
            return None

    def _kafka(self, admin: AdminClient) -> str | None:
        try:
            topic = admin.list_topics(self.kafka.topic, timeout=ASK_TIMEOUT_S).topics.get(self.kafka.topic)
        except KafkaException:
            return "it does not answer"
        if topic is None or topic.error is not None:
            return f"there is no topic {self.kafka.topic!r}"
        leaderless = sorted(number for number, partition in topic.partitions.items() if partition.leader < 0)
        return f"partitions {leaderless} have no leader" if leaderless else None


BEAT_S = 1.0
LOOP_LAG_WINDOW = 15
"""Beats over which the worst lateness is shown: as long as a usual scrape interval."""


@dataclass(slots=True)
class Pulse:
    """``check`` is called with each beat, and ends the process where going on is pointless."""

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
        """Look at everything once."""
        self.metrics.loop_lag.set(max(self._late_s, default=0.0))
        self.health.beat()
        self.check()
        lanes = self.assignment.lanes.all()
        lags = {TopicPartition(topic, partition): lag for topic, partition, lag in self.assignment.lags()}
        self._show(lanes, lags)

    def _show(self, lanes: list[PartitionQueue], lags: dict[TopicPartition, int]) -> None:
        for (topic, partition), lag in lags.items():
            self.metrics.lag.labels(topic, str(partition)).set(lag)
        for lane in lanes:
            oldest = self.metrics.oldest_unsettled.labels(lane.topic, str(lane.partition))
            oldest.set(_oldest_s(lane))
        self.metrics.buffered.set(sum(lane.size_bytes for lane in lanes))


def _oldest_s(lane: PartitionQueue) -> float:
    """Return when the oldest unsettled record was written, in seconds since 1970; now when there is none."""
    timestamp_ms = lane.unsettled[0].records[0].timestamp if lane.unsettled else -1
    return timestamp_ms / 1000 if timestamp_ms > 0 else time.time()
