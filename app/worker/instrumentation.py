"""Instrumentation of the pipeline: metrics, log lines and traces of every batch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

import structlog

from keepstream.app.telemetry.logging import CURRENT_BATCH
from keepstream.app.telemetry.tracing import NO_TRACES, Traces
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.failure import Failure, FencedError, Verdict
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.sinks.prometheus.catalogue import BatchOutcome
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = structlog.stdlib.get_logger("keepstream")
_LOGGER = logging.getLogger("keepstream")
"""Its level is checked first: a suppressed line costs structlog 5 us, which is half a percent of a batch."""
SLOW_S = 5.0
"""A batch that took longer is logged at level info; the others at debug."""


@dataclass(frozen=True, slots=True)
class InstrumentedPipeline:
    """Calls `Pipeline.process` with metrics, a log line and a trace. A batch ends as settled, abandoned or fenced."""

    process: Callable[[Batch], Awaitable[OutcomeCounts]]
    metrics: PrometheusMetrics
    traces: Traces = NO_TRACES

    async def __call__(self, batch: Batch) -> OutcomeCounts:
        offset_range, started, outcome = batch.offset_range, time.perf_counter(), BatchOutcome.ABANDONED
        CURRENT_BATCH.set(batch)
        self.metrics.batch_started(offset_range.topic, offset_range.records)
        try:
            with self.traces.batch(batch) as done:
                counts = await self.process(batch)
                done(counts)
            outcome = BatchOutcome.SETTLED
        except FencedError:
            outcome = BatchOutcome.FENCED
            raise
        finally:
            self.metrics.batch_ended(offset_range.topic, offset_range.records, outcome)
        self._log(batch, counts, time.perf_counter() - started)
        return counts

    def _log(self, batch: Batch, counts: OutcomeCounts, duration_s: float) -> None:
        level = logging.INFO if duration_s > SLOW_S else logging.DEBUG
        if _LOGGER.isEnabledFor(level):
            log.log(level, "batch settled", last_offset=batch.records[-1].offset, delivered=counts.delivered,
                    duplicate=counts.duplicate, stale=counts.stale, ignored=counts.ignored,
                    dead_lettered=counts.dead_lettered, duration_s=round(duration_s, 6))  # fmt: skip


SECOND = 1.0


class LogRateLimiter:
    """Limits log lines per second; ``report`` is called with the number of suppressed lines after each second."""

    def __init__(self, lines_per_s: int, report: Callable[[int], None]) -> None:
        self._lines_per_s = lines_per_s
        self._report = report
        self._left = self._suppressed = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, wanted: int) -> int:
        """Return how many of the lines may be written now. Must be called on an event loop."""
        if self._timer is None:
            self._left = self._lines_per_s
            # A context of its own: the summary is about many batches, and must not have the first one's fields.
            self._timer = asyncio.get_running_loop().call_later(SECOND, self._is_over, context=Context())
        lines = min(wanted, self._left)
        self._left -= lines
        self._suppressed += wanted - lines
        return lines

    def _is_over(self) -> None:
        suppressed, self._suppressed, self._timer = self._suppressed, 0, None
        if suppressed:
            self._report(suppressed)


DEAD_LETTER_LINES_PER_S = 100
"""Thousands of dead letters per second would cost a tenth of the worker, and fill the disk that the log is on."""


class LoggingMetrics:
    """Implements `Metrics` of one topic with Prometheus and log lines.

    Payloads, keys and headers of records are never logged.
    """

    def __init__(self, metrics: PrometheusMetrics, topic: str) -> None:
        self._metrics = metrics
        self._topic = topic
        self.batch_settled = metrics.batch_settled
        self.step_took = metrics.step_timer(topic)
        self.publish_took = metrics.publish_took
        self._lines = LogRateLimiter(DEAD_LETTER_LINES_PER_S, _report_suppressed)

    def attempt_failed(self, failure: Failure, *, retried: bool) -> None:
        self._metrics.attempt_failed(self._topic, failure, retried=retried)
        if batch := CURRENT_BATCH.get():
            batch.queue.failed_attempts += 1
        # A bad record fails about seven attempts of its batch, and has its dead letter's line; a pause has its own.
        is_reported = failure.verdict in (Verdict.RECORD, Verdict.SYSTEMIC)
        log.log(logging.DEBUG if is_reported else logging.INFO, "attempt failed", **_fields(failure), retried=retried)

    def dead_lettered(self, dead_letters: Sequence[DeadLetter]) -> None:
        self._metrics.dead_lettered(dead_letters)
        for dead in dead_letters[: self._lines.take(len(dead_letters))]:
            record, duration = dead.record, dead.last_failed_at - dead.first_failed_at
            log.warning("dead letter", topic=record.topic, partition=record.partition, offset=record.offset,
                        event_id=dead.event_id, correlation_id=dead.correlation_id, **_fields(dead.failure),
                        duration_s=round(duration.total_seconds(), 6))  # fmt: skip

    def paused(self, topic: str, partition: int, failure: Failure) -> None:
        log.error("partition paused", topic=topic, partition=partition, **_fields(failure))

    def resumed(self, topic: str, partition: int) -> None:
        log.info("partition resumed", topic=topic, partition=partition)

    def fenced(self, topic: str, partition: int) -> None:
        log.warning("the stored offset is not the one this worker wrote (another worker moved it, or PostgreSQL lost "
                    "its last commits); starting again from the stored offset",
                    topic=topic, partition=partition)  # fmt: skip
        self._metrics.fences.labels(topic).inc()


def _report_suppressed(count: int) -> None:
    log.warning("more dead letters in this second than log lines; `keepstream dlq list` shows all", count=count)


def _fields(failure: Failure) -> dict[str, object]:
    return {
        "step": failure.step.value,
        "verdict": failure.verdict.value,
        "reason": failure.reason,
        "why": failure.message,
        "sqlstate": failure.sqlstate,
        "attempts": failure.attempts,
    }
