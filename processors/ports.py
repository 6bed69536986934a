"""What the deciding rooms ask of the outside world. `sinks` fits these by shape; `components` joins them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement


class EventStore(Protocol):
    """The table of events, its counters and the consumed offsets.

    Every method raises TransientError, RecordError or SystemicError; those that name a span raise FencedError.
    """

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        """Write rows as delivered, counters, dead letters and the offset in one statement. Ids must be unique."""
        ...

    async def settle_by_steps(
        self, span: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
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

    async def publish(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        """Return the letters with their places, once the broker has confirmed each; raise SystemicError otherwise."""
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
