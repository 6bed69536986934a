"""Instrumentation around the pipeline: counts, log lines and traces of every batch."""

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
from keepstream.processors.ports import DeadLetterQueue
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.failure import Failure, FencedError, Step, Verdict
from keepstream.schemas.outcome import OutcomeCounts, Publication
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.prometheus.catalogue import BatchOutcome
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = structlog.stdlib.get_logger("keepstream")
_LOGGER = logging.getLogger("keepstream")
"""Checked first: a suppressed line costs structlog 5 us, which is half a percent of a batch."""
SLOW_S = 5.0
"""A batch that took longer is logged at level info; the others at debug."""


@dataclass(frozen=True, slots=True)
class InstrumentedPipeline:
    """`Pipeline.process` with counts, a log line and a trace. A batch ends as settled, abandoned or fenced."""

    process: Callable[[Batch], Awaitable[OutcomeCounts]]
    metrics: PrometheusMetrics
    traces: Traces = NO_TRACES

    async def __call__(self, batch: Batch) -> OutcomeCounts:
        offset_range, started, outcome = batch.offset_range, time.perf_counter(), BatchOutcome.ABANDONED
        CURRENT_BATCH.set(batch)
        self.metrics.batch_started(offset_range.topic, offset_range.records)
        try:
            with self.traces.batch(batch) as done:
                tally = await self.process(batch)
                done(tally)
            outcome = BatchOutcome.SETTLED
        except FencedError:
            outcome = BatchOutcome.FENCED
            raise
        finally:
            self.metrics.batch_ended(offset_range.topic, offset_range.records, outcome)
        self._log(batch, tally, time.perf_counter() - started)
        return tally

    def _log(self, batch: Batch, tally: OutcomeCounts, duration_s: float) -> None:
        level = logging.INFO if duration_s > SLOW_S else logging.DEBUG
        if _LOGGER.isEnabledFor(level):
            log.log(level, "batch settled", last_offset=batch.records[-1].offset, delivered=tally.delivered,
                    duplicate=tally.duplicate, stale=tally.stale, dead_lettered=tally.dead_lettered,
                    duration_s=round(duration_s, 6))  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimedDeadLetterQueue:
    """A `DeadLetterQueue` that measures how long the broker takes to confirm."""

    queue: DeadLetterQueue
    metrics: PrometheusMetrics

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        started = time.perf_counter()
        publication = await self.queue.publish(records)
        self.metrics.publish_took(time.perf_counter() - started)
        return publication


SECOND = 1.0


class LogRateLimiter:
    """Limits lines per second; ``report`` is called with the number of suppressed lines once the second is over."""

    def __init__(self, lines_per_s: int, report: Callable[[int], None]) -> None:
        self._lines_per_s = lines_per_s
        self._report = report
        self._left = self._suppressed = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, wanted: int) -> int:
        """Return how many lines may be written now. Called on an event loop."""
        if self._timer is None:
            self._left = self._lines_per_s
            # A context of its own: the summary is about many batches, and must not bear the first one's fields.
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
    """`Metrics` that also writes log lines. A record's payload, key and headers are never written."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics
        self._lines = LogRateLimiter(DEAD_LETTER_LINES_PER_S, _report_suppressed)

    def batch_settled(self, topic: str, partition: int, tally: OutcomeCounts, oldest_timestamp_ms: int) -> None:
        self._metrics.batch_settled(topic, partition, tally, oldest_timestamp_ms)

    def step_took(self, step: Step, duration_s: float) -> None:
        self._metrics.step_took(step, duration_s)

    def attempt_failed(self, failure: Failure, *, retried: bool) -> None:
        self._metrics.attempt_failed(failure, retried=retried)
        if batch := CURRENT_BATCH.get():
            batch.queue.failed_attempts += 1
        # A bad record fails about seven attempts of its batch, and has its dead letter's line; a pause has its own.
        is_reported = failure.verdict in (Verdict.RECORD, Verdict.SYSTEMIC)
        log.log(logging.DEBUG if is_reported else logging.INFO, "attempt failed", **_facts(failure), retried=retried)

    def dead_lettered(self, letters: Sequence[DeadLetter]) -> None:
        self._metrics.dead_lettered(letters)
        for letter in letters[: self._lines.take(len(letters))]:
            record, tried = letter.record, letter.last_failed_at - letter.first_failed_at
            log.warning("dead letter", topic=record.topic, partition=record.partition, offset=record.offset,
                        event_id=letter.event_id, correlation_id=letter.correlation_id, **_facts(letter.failure),
                        duration_s=round(tried.total_seconds(), 6))  # fmt: skip

    def paused(self, topic: str, partition: int, failure: Failure) -> None:
        log.error("partition paused", topic=topic, partition=partition, **_facts(failure))

    def resumed(self, topic: str, partition: int) -> None:
        log.info("partition resumed", topic=topic, partition=partition)

    def fenced(self, topic: str, partition: int) -> None:
        log.warning("the stored offset is not where this worker left it (another worker moved it, or PostgreSQL lost "
                    "its last commits); beginning again from there", topic=topic, partition=partition)  # fmt: skip
        self._metrics.fences.inc()


def _report_suppressed(count: int) -> None:
    log.warning("more dead letters in this second, without a line each: `keepstream dlq list` has them", count=count)


def _facts(failure: Failure) -> dict[str, object]:
    return {
        "step": failure.step.value,
        "verdict": failure.verdict.value,
        "reason": failure.reason,
        "why": failure.message,
        "sqlstate": failure.sqlstate,
        "attempts": failure.attempts,
    }
