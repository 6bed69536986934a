"""What is seen of every batch, around the pipeline and unknown to it: counts, one log line, one trace."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from keepstream.app.telemetry.logging import CURRENT_BATCH
from keepstream.app.telemetry.tracing import NO_TRACES
from keepstream.schemas.failure import FencedError
from keepstream.sinks.prometheus.catalogue import Given

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from keepstream.app.telemetry.tracing import Traces
    from keepstream.processors.partition_queue import Batch
    from keepstream.processors.ports import DeadLetterQueue
    from keepstream.schemas.dead_letter import DeadLetter
    from keepstream.schemas.outcome import Tally
    from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = structlog.stdlib.get_logger("keepstream")
_LOGGER = logging.getLogger("keepstream")
"""Asked first: a line that is not wanted costs structlog 5 us, which is half a percent of a batch."""
SLOW_S = 5.0
"""A batch that took longer is told at level info; the others at debug."""


@dataclass(frozen=True, slots=True)
class ObservedBatches:
    """`Pipeline.process`, watched. Every batch begun ends as settled, abandoned or fenced."""

    process: Callable[[Batch], Awaitable[Tally]]
    metrics: PrometheusMetrics
    traces: Traces = NO_TRACES

    async def __call__(self, batch: Batch) -> Tally:
        span, started, outcome = batch.span, time.perf_counter(), Given.ABANDONED
        CURRENT_BATCH.set(batch)
        self.metrics.batch_begun(span.topic, span.records)
        try:
            with self.traces.batch(batch) as done:
                tally = await self.process(batch)
                done(tally)
            outcome = Given.SETTLED
        except FencedError:
            outcome = Given.FENCED
            raise
        finally:
            self.metrics.batch_ended(span.topic, span.records, outcome)
        self._tell(batch, tally, time.perf_counter() - started)
        return tally

    def _tell(self, batch: Batch, tally: Tally, duration_s: float) -> None:
        level = logging.INFO if duration_s > SLOW_S else logging.DEBUG
        if _LOGGER.isEnabledFor(level):
            log.log(level, "batch settled", last_offset=batch.records[-1].offset, delivered=tally.delivered,
                    duplicate=tally.duplicate, stale=tally.stale, dead_lettered=tally.dead_lettered,
                    duration_s=round(duration_s, 6))  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimedDeadLetters:
    """A `DeadLetterQueue` whose confirmations are timed."""

    queue: DeadLetterQueue
    metrics: PrometheusMetrics

    async def publish(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        started = time.perf_counter()
        placed = await self.queue.publish(letters)
        self.metrics.publish_took(time.perf_counter() - started)
        return placed
