"""The stream, looked at every other second: rates need two looks, and charts need a history."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field

import aiohttp
from confluent_kafka import KafkaException

from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.app.status.snapshot import Look
from keepstream.app.status.workers import WorkerMetrics, scrape_workers
from keepstream.sinks.postgres.status import last_replays, partition_progress

log = logging.getLogger(__name__)
EVERY_S = 2.0
LOOKS_KEPT = 300
"""Ten minutes."""
REPLAYS_SHOWN = 8


@dataclass
class Pulse:
    """Holds one client of Kafka; ``trouble`` says what does not answer."""

    services: Services
    looks: deque[Look] = field(default_factory=lambda: deque(maxlen=LOOKS_KEPT))
    trouble: KeepstreamError | None = None

    async def run(self) -> None:
        """Look for ever. Whatever fails is shown, and asked again."""
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.monotonic()
                try:
                    settings = self.services.settings
                    workers = await scrape_workers(settings.web.worker_urls, session, settings.kafka.topic)
                    self.looks.append(await asyncio.to_thread(self._look, workers))
                    self.trouble = None
                except KeepstreamError as trouble:
                    self.trouble = trouble
                except KafkaException:
                    self.trouble = KeepstreamError(
                        "kafka_unreachable", "Kafka does not answer", "see `keepstream doctor`"
                    )
                except Exception:
                    log.exception("the overview could not be read")
                    self.trouble = KeepstreamError("internal", "the overview could not be read; the log says why")
                await asyncio.sleep(max(0.1, began + EVERY_S - time.monotonic()))

    def _look(self, workers: WorkerMetrics) -> Look:
        kafka = self.services.settings.kafka
        ends = self.services.kafka.watermarks(kafka.topic)
        with self.services.postgres() as connection:
            settled = {one.partition: one for one in partition_progress(connection, kafka.topic)}
            replays = last_replays(connection, kafka.dlq_topic, REPLAYS_SHOWN)
        return Look(time.monotonic(), settled, ends, workers, replays)
