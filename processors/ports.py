"""What the deciding rooms ask of the outside world. `sinks` fits these by shape; `components` joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Publication, Settlement
from keepstream.schemas.record import KafkaRecord


class EventStore(Protocol):
    """The table of events, its counters and the consumed offsets.

    Every method raises TransientError, RecordError or SystemicError; those that name a offset_range raise FencedError.
    """

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        """Write rows as delivered, counters, dead letters, their outbox and the offset in one statement.

        Event ids must be unique.
        """
        ...

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        """Do the same for a single record, in one transaction with a statement per step.

        ``done`` is called after each step's statement. An error's ``failure.step`` is the step that raised it.
        """
        ...

    async def healthy(self) -> bool:
        """Say whether a harmless event can be written (and is rolled back). Never raises."""
        ...


class DeadLetterQueue(Protocol):
    """The topic that takes what cannot be processed."""

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        """Publish letters, each under the coordinates of the record that died; return once the broker has answered."""
        ...


class DeadLetterOutbox(Protocol):
    """Dead letters that `EventStore.settle` has written down and the broker has not confirmed. Raises StepError."""

    async def load(self, topic: str, partition: int) -> Sequence[KafkaRecord]:
        """Return the letters of a partition, byte for byte as they were decided."""
        ...

    async def remove(self, topic: str, partition: int, record_ids: Mapping[int, str | None]) -> None:
        """Note where confirmed letters lie, and forget them here."""
        ...


class Metrics(Protocol):
    """Who is told. Nothing here may raise or wait."""

    def batch_settled(self, topic: str, partition: int, tally: OutcomeCounts, oldest_timestamp_ms: int) -> None: ...
    def step_took(self, step: Step, duration_s: float) -> None: ...
    def attempt_failed(self, failure: Failure, *, retried: bool) -> None: ...
    def dead_lettered(self, letters: Sequence[DeadLetter]) -> None: ...
    def paused(self, topic: str, partition: int, failure: Failure) -> None: ...
    def resumed(self, topic: str, partition: int) -> None: ...
    def fenced(self, topic: str, partition: int) -> None: ...
