"""What the worker tells: the metrics, and a log line where a person would want one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from keepstream.app.worker.line_budget import LineBudget
from keepstream.schemas.failure import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keepstream.schemas.dead_letter import DeadLetter
    from keepstream.schemas.failure import Failure, Step
    from keepstream.schemas.outcome import Tally
    from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = structlog.stdlib.get_logger("keepstream")
DEAD_LETTER_LINES_PER_S = 100
"""Thousands of dead letters per second would cost a tenth of the worker, and fill the disk that the log is on."""


class Journal:
    """`Metrics` that counts and writes. A record's payload, key and headers are never written."""

    def __init__(self, metrics: PrometheusMetrics) -> None:
        self._metrics = metrics
        self._lines = LineBudget(DEAD_LETTER_LINES_PER_S, _tell_of_others)

    def batch_settled(self, topic: str, partition: int, tally: Tally, oldest_timestamp_ms: int) -> None:
        self._metrics.batch_settled(topic, partition, tally, oldest_timestamp_ms)

    def step_took(self, step: Step, duration_s: float) -> None:
        self._metrics.step_took(step, duration_s)

    def attempt_failed(self, failure: Failure, *, retried: bool) -> None:
        self._metrics.attempt_failed(failure, retried=retried)
        # A bad record is met about seven times while its batch is halved; what counts is its dead letter's line.
        tell = log.debug if failure.verdict is Verdict.RECORD else log.info
        tell("attempt failed", **_facts(failure), retried=retried)

    def dead_lettered(self, letters: Sequence[DeadLetter]) -> None:
        self._metrics.dead_lettered(letters)
        for letter in letters[: self._lines.take(len(letters))]:
            record, tried = letter.record, letter.last_failed_at - letter.first_failed_at
            log.warning("dead letter", topic=record.topic, partition=record.partition, offset=record.offset,
                        event_id=letter.event_id, correlation_id=letter.correlation_id, **_facts(letter.failure),
                        duration_s=round(tried.total_seconds(), 6))  # fmt: skip

    def paused(self, topic: str, partition: int, failure: Failure) -> None:
        if (topic, partition) not in self._metrics.pauses:
            log.error("partition held", topic=topic, partition=partition, **_facts(failure))
        self._metrics.paused(topic, partition, failure)

    def resumed(self, topic: str, partition: int) -> None:
        if (topic, partition) in self._metrics.pauses:
            log.info("partition resumed", topic=topic, partition=partition)
        self._metrics.resumed(topic, partition)

    def fenced(self, topic: str, partition: int) -> None:
        log.warning("the stored offset is not where this worker left it (another worker moved it, or PostgreSQL lost "
                    "its last commits); beginning again from there", topic=topic, partition=partition)  # fmt: skip
        self._metrics.fenced(topic, partition)


def _tell_of_others(count: int) -> None:
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
