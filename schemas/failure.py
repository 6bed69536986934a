"""Failures of a step and their verdicts (docs/architecture.md, "Three verdicts")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """A step of the pipeline."""

    VALIDATE = "validate"
    STORE = "store"
    METRICS = "metrics"


class Verdict(StrEnum):
    """The cause of a failure, which decides what follows."""

    TRANSIENT = "transient"
    """A retry may work: deadlock, lock timeout, lost connection."""
    RECORD = "record"
    """This record can never work: dead-letter it, keep its neighbours."""
    SYSTEMIC = "systemic"
    """The environment fails: pause the partition, never dead-letter."""
    EXHAUSTED = "exhausted"
    """Transient, but it failed again after the database was found healthy: dead-letter it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a step failed.

    ``reason`` is a short stable code out of a closed set (safe as a metric label); ``message`` is for people and
    contains no input values. ``record_may_cause``: a record can cause this transient failure every time (a statement
    that takes too long); it never causes a lost connection or a lock of another session. ``row_may_come``: the record
    refers to a row that does not exist, and may exist later (a foreign key).
    """

    step: Step
    verdict: Verdict
    reason: str
    message: str
    sqlstate: str | None = None
    attempts: int = 1
    record_may_cause: bool = False
    row_may_come: bool = False


class StepError(Exception):
    """A failed step; ``failure.verdict`` decides what follows."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class TransientError(StepError):
    """A failure with ``Verdict.TRANSIENT``: retried with backoff, then bisected."""


class RecordError(StepError):
    """A failure with ``Verdict.RECORD``: at least one record of the batch can never work."""


class SystemicError(StepError):
    """A failure with ``Verdict.SYSTEMIC``: the partition is paused until the environment recovers."""


class FencedError(Exception):
    """The stored offset is not the one that this worker expected. Nothing was written.

    Raised after a rebalance that a frozen worker missed, and after PostgreSQL lost commits (a crash, a failover to a
    standby that lagged).
    """

    def __init__(self, topic: str, partition: int, expected_offset: int) -> None:
        super().__init__(f"{topic}-{partition} is no longer at offset {expected_offset}: it was moved, or forgotten")
        self.topic = topic
        self.partition = partition
        self.expected_offset = expected_offset
