"""Reads the status of the stream from Kafka, PostgreSQL and the workers; each may be unavailable."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.app.status.snapshot import Snapshot
from keepstream.app.status.workers import WorkerMetrics, WorkerScraper
from keepstream.sinks.kafka.admin import Range, oldest_unsettled_timestamp
from keepstream.sinks.postgres.dead_letters import UNRESOLVED, DeadLetterIndex
from keepstream.sinks.postgres.status import LastError, PartitionProgress, last_errors, last_replays, partition_progress

LAST_SHOWN = 5
COUNT_EVERY_S = 10.0
"""Minimum time between two counts of dead letters: counting millions takes seconds."""
KAFKA_TIMEOUT_S = 3.0
KAFKA, POSTGRES, WORKERS = "Kafka", "PostgreSQL", "workers"


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Status in PostgreSQL. ``reasons``: reason -> unresolved dead letters."""

    settled: Mapping[int, PartitionProgress] = field(default_factory=dict)
    replays: Sequence[Mapping[str, Any]] = ()
    errors: Sequence[LastError] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusReading:
    """A snapshot, details from PostgreSQL, and the errors of the parts that did not answer."""

    snapshot: Snapshot
    store: StoreStatus
    missing: Mapping[str, KeepstreamError]
    oldest_unsettled_s: float | None
    """Kafka timestamp of the oldest unsettled record, in Unix seconds; None when all is settled, or unknown."""


class StatusReader:
    """Reads the parts concurrently: one that is unavailable does not delay the others.

    Without ``details`` it leaves out last errors, reasons and the oldest unsettled record, which cost most. Readers of
    several topics may share ``workers``.
    """

    def __init__(self, services: Services, *, details: bool = True, workers: WorkerScraper | None = None) -> None:
        self._details = details
        self._services = services
        self._settings = services.settings
        self._scraper = workers or WorkerScraper(services.settings.web.worker_urls)
        self._counted: tuple[float, Mapping[str, int]] | None = None

    def read(self) -> StatusReading:
        """Read all parts. An unavailable one is in ``missing`` and raises nothing."""
        missing: dict[str, KeepstreamError] = {}
        with ThreadPoolExecutor(3, thread_name_prefix="status") as pool:
            ends, stored, scraped = pool.submit(self._ends), pool.submit(self._store), pool.submit(self._workers)
            workers = scraped.result()
            try:
                store = stored.result()
            except KeepstreamError as error:
                store, missing[POSTGRES] = StoreStatus(), error
            try:
                bounds = ends.result()
            except KeepstreamError as error:
                bounds, missing[KAFKA] = {}, error
        if not workers.answered:
            missing[WORKERS] = _no_worker(workers.asked)
        unavailable = frozenset(name for name, part in (("ends", KAFKA), ("settled", POSTGRES)) if part in missing)
        snapshot = Snapshot(time.monotonic(), store.settled, bounds, workers, store.replays, unavailable)
        return StatusReading(snapshot, store, missing, self._oldest(snapshot) if self._details else None)

    def _ends(self) -> Mapping[int, Range]:
        admin = self._services.admin(KAFKA_TIMEOUT_S)
        with self._services.kafka_errors():
            return admin.watermarks(self._settings.kafka.topic)

    def _store(self) -> StoreStatus:
        kafka = self._settings.kafka
        with self._services.postgres() as connection:
            settled = {one.partition: one for one in partition_progress(connection, kafka.topic)}
            replays = last_replays(connection, kafka.dlq_topic, LAST_SHOWN)
            if not self._details:
                return StoreStatus(settled, replays)
            if self._counted is None or time.monotonic() - self._counted[0] > COUNT_EVERY_S:
                self._counted = time.monotonic(), by_reason(DeadLetterIndex(connection).counts())
            return StoreStatus(settled, replays, last_errors(connection, LAST_SHOWN), self._counted[1])

    def _workers(self) -> WorkerMetrics:
        return self._scraper.read(self._settings.kafka.topic)

    def _oldest(self, snapshot: Snapshot) -> float | None:
        """Read it from the topic, or from the workers' metrics without Kafka or PostgreSQL."""
        if snapshot.unavailable:
            return snapshot.workers.oldest_unsettled_s if any(snapshot.workers.lag.values()) else None
        positions = {
            partition: max(start, snapshot.settled[partition].next_offset if partition in snapshot.settled else start)
            for partition, (start, _) in snapshot.ends.items()
            if snapshot.lag(partition)
        }
        kafka = self._settings.kafka
        return oldest_unsettled_timestamp(self._services.kafka.config, kafka.group_id, kafka.topic, positions)


def lag_rows(services: Services) -> list[dict[str, Any]]:
    """Return one row per partition: settled and committed offset, end, lag, and when it last moved."""
    kafka, admin = services.settings.kafka, services.admin()
    with services.kafka_errors():
        ends = admin.watermarks(kafka.topic)
        committed = admin.committed_offsets(kafka.group_id, kafka.topic, ends)
    with services.postgres() as connection:
        settled = {one.partition: one for one in partition_progress(connection, kafka.topic)}
    snapshot = Snapshot(time.monotonic(), settled, ends)
    return [
        {
            "partition": p, "settled": settled[p].next_offset if p in settled else None, "committed": committed.get(p),
            "end": end, "lag": snapshot.lag(p), "settled_at": settled[p].moved_at if p in settled else None,
        }
        for p, (_, end) in sorted(ends.items())
    ]  # fmt: skip


def by_reason(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return the unresolved dead letters of `DeadLetterIndex.counts` by reason, most first."""
    counts: Counter[str] = Counter()
    for row in rows:
        if row["state"] in UNRESOLVED:
            counts[row["reason"]] += row["letters"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _no_worker(asked: int) -> KeepstreamError:
    message = f"none of {asked} worker endpoints answers: retries and paused partitions are unknown"
    return KeepstreamError("no_worker", message, "set KEEPSTREAM_WEB__WORKER_URLS to where workers serve their metrics")
