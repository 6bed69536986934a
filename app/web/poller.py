"""Reads the status of the stream every 2 s: rates need two snapshots, and charts need a history."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass, field

from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.app.status.observer import WORKERS, StatusReader
from keepstream.app.status.snapshot import Snapshot
from keepstream.app.status.workers import WorkerMetrics, WorkerScraper

log = logging.getLogger(__name__)
EVERY_S = 2.0
SNAPSHOTS_KEPT = 300
"""Ten minutes."""


@dataclass
class StatusPoller:
    """Keeps the last snapshots; ``error`` and ``workers`` are those of the last reading, for the page."""

    services: Services
    threads: Executor
    scraper: WorkerScraper
    """Shared by all topics."""
    snapshots: deque[Snapshot] = field(default_factory=lambda: deque(maxlen=SNAPSHOTS_KEPT))
    error: KeepstreamError | None = None
    workers: WorkerMetrics = field(default_factory=WorkerMetrics)

    async def run(self) -> None:
        """Read until cancelled. An incomplete snapshot is not kept."""
        reader, loop = StatusReader(self.services, details=False, workers=self.scraper), asyncio.get_running_loop()
        while True:
            started = time.monotonic()
            try:
                reading = await loop.run_in_executor(self.threads, reader.read)
                self.workers = reading.snapshot.workers
                self.error = next((error for part, error in reading.missing.items() if part != WORKERS), None)
                if self.error is None:
                    self.snapshots.append(reading.snapshot)
            except Exception:
                log.exception("the overview could not be read")
                self.error = KeepstreamError("internal", "the overview could not be read; the log has the reason")
            await asyncio.sleep(max(0.1, started + EVERY_S - time.monotonic()))
