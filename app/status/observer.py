"""Where the stream stands, from whatever answers: `keepstream status`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from keepstream.app.connect.services import Services, kafka_errors
from keepstream.app.errors import KeepstreamError
from keepstream.app.status.snapshot import Look
from keepstream.app.status.workers import WorkerMetrics, scrape_workers
from keepstream.sinks.kafka.admin import Range, oldest_unsettled_timestamp
from keepstream.sinks.postgres.dead_letters import UNRESOLVED, DeadLetterIndex
from keepstream.sinks.postgres.status import LastError, PartitionProgress, last_errors, last_replays, partition_progress

LAST_SHOWN = 5
COUNT_EVERY_S = 10.0
"""Dead letters are counted at most so often: counting millions takes a while."""
KAFKA_PATIENCE_S = 3.0
KAFKA, POSTGRES, WORKERS = "Kafka", "PostgreSQL", "workers"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What PostgreSQL says. ``reasons``: reason -> dead letters that are not resolved."""

    settled: Mapping[int, PartitionProgress] = field(default_factory=dict)
    replays: Sequence[Mapping[str, Any]] = ()
    errors: Sequence[LastError] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusReading:
    """A look, what goes with it, and which part did not answer."""

    look: Look
    ledger: Ledger
    missing: Mapping[str, KeepstreamError]
    oldest_unsettled_s: float | None
    """Unix time of the oldest unsettled record's Kafka timestamp; None when all is settled, or it is not known."""


class StatusReader:
    """Looks as often as it is asked. Each part is asked at the same time, and none waits for another's absence."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._counted: tuple[float, Mapping[str, int]] | None = None

    def see(self) -> StatusReading:
        """Ask all parts. Never raises for one that is away."""
        missing: dict[str, KeepstreamError] = {}
        with ThreadPoolExecutor(3, thread_name_prefix="status") as pool:
            ends, ledger, asked = pool.submit(self._ends), pool.submit(self._ledger), pool.submit(self._workers)
            workers = asked.result()
            try:
                books = ledger.result()
            except KeepstreamError as trouble:
                books, missing[POSTGRES] = Ledger(), trouble
            try:
                bounds = ends.result()
            except KeepstreamError as trouble:
                bounds, missing[KAFKA] = {}, trouble
        if not workers.answered:
            missing[WORKERS] = _no_worker(workers.asked)
        blind = frozenset(name for name, part in (("ends", KAFKA), ("settled", POSTGRES)) if part in missing)
        look = Look(time.monotonic(), books.settled, bounds, workers, books.replays, blind)
        return StatusReading(look, books, missing, self._oldest(look))

    def _ends(self) -> Mapping[int, Range]:
        admin = self._services.admin(KAFKA_PATIENCE_S)
        with kafka_errors():
            return admin.watermarks(self._settings.kafka.topic)

    def _ledger(self) -> Ledger:
        kafka = self._settings.kafka
        with self._services.postgres() as connection:
            if self._counted is None or time.monotonic() - self._counted[0] > COUNT_EVERY_S:
                self._counted = time.monotonic(), by_reason(DeadLetterIndex(connection).counts())
            return Ledger(
                {one.partition: one for one in partition_progress(connection, kafka.topic)},
                last_replays(connection, kafka.dlq_topic, LAST_SHOWN),
                last_errors(connection, LAST_SHOWN),
                self._counted[1],
            )

    def _workers(self) -> WorkerMetrics:
        async def ask() -> WorkerMetrics:
            async with aiohttp.ClientSession() as session:
                return await scrape_workers(self._settings.web.worker_urls, session, self._settings.kafka.topic)

        return asyncio.run(ask())

    def _oldest(self, look: Look) -> float | None:
        """Ask the log; without Kafka or PostgreSQL, the workers, who know what they hold."""
        if look.blind:
            return look.workers.oldest_unsettled_s if any(look.workers.lag.values()) else None
        positions = {
            partition: max(start, look.settled[partition].next_offset if partition in look.settled else start)
            for partition, (start, _) in look.ends.items()
            if look.lag(partition)
        }
        kafka = self._settings.kafka
        return oldest_unsettled_timestamp(self._services.kafka.config, kafka.group_id, kafka.topic, positions)


def by_reason(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return what is not resolved of `DeadLetterIndex.counts`, most first."""
    counts: Counter[str] = Counter()
    for row in rows:
        if row["state"] in UNRESOLVED:
            counts[row["reason"]] += row["letters"]
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _no_worker(asked: int) -> KeepstreamError:
    message = f"none of {asked} worker endpoints answers: no retries, no holds"
    return KeepstreamError("no_worker", message, "set KEEPSTREAM_WEB__WORKER_URLS to where workers serve their metrics")
