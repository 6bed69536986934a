"""Interfaces between the pipeline and `sinks`, whose classes implement them without importing them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Publication, Settlement
from keepstream.schemas.record import KafkaRecord


class EventStore(Protocol):
    """The table of events, its counters and the stored offsets.

    Every method raises TransientError, RecordError or SystemicError; one that moves an offset also FencedError.
    """

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        """Write rows as delivered, counters, dead letters, their outbox and the offset in one statement.

        Event ids must be unique.
        """
        ...

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        """Write a single record and its offset in one transaction, with a statement per step.

        ``done`` is called after each step's statement. An error's ``failure.step`` is the step that raised it.
        """
        ...

    async def healthy(self) -> bool:
        """Return whether a harmless event can be written (it is rolled back). Never raises."""
        ...


class DeadLetterQueue(Protocol):
    """The dead letter topic."""

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        """Publish dead letters, each with the coordinates of its source record; return once the broker has answered."""
        ...


class DeadLetterOutbox(Protocol):
    """Dead letters that `EventStore.settle` has committed and the broker has not confirmed. Raises StepError."""

    async def load(self, topic: str, partition: int) -> Sequence[KafkaRecord]:
        """Return the dead letters of a partition, byte for byte as they were decided."""
        ...

    async def remove(self, record_ids: Mapping[str, str | None]) -> None:
        """Remove confirmed dead letters, by id; store their record ids in the dead letter index."""
        ...


class Metrics(Protocol):
    """Receives the pipeline's events. Methods must not raise or block."""

    def batch_settled(self, topic: str, partition: int, counts: OutcomeCounts, oldest_timestamp_ms: int) -> None: ...
    def step_took(self, step: Step, duration_s: float) -> None: ...
    def publish_took(self, duration_s: float) -> None: ...
    def attempt_failed(self, failure: Failure, *, retried: bool) -> None: ...
    def dead_lettered(self, dead_letters: Sequence[DeadLetter]) -> None: ...
    def paused(self, topic: str, partition: int, failure: Failure) -> None: ...
    def resumed(self, topic: str, partition: int) -> None: ...
    def fenced(self, topic: str, partition: int) -> None: ...
