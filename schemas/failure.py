"""Whose fault a failure is, and what follows from it (docs/architecture.md, "Three verdicts")."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """The three steps a record passes through."""

    VALIDATE = "validate"
    STORE = "store"
    METRICS = "metrics"


class Verdict(StrEnum):
    """What a failure says about the future."""

    TRANSIENT = "transient"
    """A retry may work: deadlock, lock timeout, lost connection."""
    RECORD = "record"
    """This record can never work: dead-letter it, keep its neighbours."""
    SYSTEMIC = "systemic"
    """The environment is ill: pause, never dead-letter."""
    EXHAUSTED = "exhausted"
    """Transient, but it failed again after the database was found healthy: dead-letter it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something did not work.

    ``reason`` is a short stable code out of a closed set (safe as a metric label); ``message`` is for people and
    carries no input values. ``record_may_cause`` says of a transient failure that a record can cause it for ever (a
    statement that takes too long); a lost connection or a lock that somebody holds is never the record's fault.
    """

    step: Step
    verdict: Verdict
    reason: str
    message: str
    sqlstate: str | None = None
    attempts: int = 1
    record_may_cause: bool = False


class StepError(Exception):
    """A step failed; ``failure.verdict`` says what follows."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class TransientError(StepError):
    """Raised for ``Verdict.TRANSIENT``: retried with backoff, then isolated."""


class RecordError(StepError):
    """Raised for ``Verdict.RECORD``: at least one record of the batch can never work."""


class SystemicError(StepError):
    """Raised for ``Verdict.SYSTEMIC``: the partition is held until the environment recovers."""


class FencedError(Exception):
    """The partition's stored offset is not where this owner left it: it must not write. Nothing was written.

    Met after a rebalance that this process slept through, and after PostgreSQL went back (a crash took its last
    commits, a standby that lagged took over).
    """

    def __init__(self, topic: str, partition: int, expected_offset: int) -> None:
        super().__init__(f"{topic}-{partition} is no longer at offset {expected_offset}: it was moved, or forgotten")
        self.topic = topic
        self.partition = partition
        self.expected_offset = expected_offset
