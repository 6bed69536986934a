"""A range of offsets of a batch, and what is known so far of the records in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from keepstream.processors.partition_queue import Batch
from keepstream.processors.validation.validate import Validator, check_content
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.outcome import BatchRange
from keepstream.schemas.record import Record, header


@dataclass(slots=True)
class BatchPart:
    """Consecutive records of a batch: each is an event that may still be stored, or a dead letter."""

    offset_range: BatchRange
    events: Sequence[ValidEvent]
    dead: list[DeadLetter]

    @property
    def is_event(self) -> bool:
        """Whether the part is a single record that may still be stored."""
        return self.offset_range.records == 1 and bool(self.events)

    @property
    def is_dead_letter(self) -> bool:
        """Whether the part is a single record that is dead."""
        return self.offset_range.records == 1 and not self.events

    @classmethod
    def of(cls, batch: Batch, validator: Validator) -> BatchPart:
        """Return the whole batch, checked against the contract."""
        check_contract = validator.check_contract
        part = cls(batch.offset_range, [], [])
        events = []
        for record in batch.records:
            verdict = check_contract(record)
            if isinstance(verdict, Rejection):
                part.dead.append(rejected(record, verdict))
            else:
                events.append(verdict)
        part.events = events
        return part

    def reject_content(self) -> bool:
        """Look closer at what PostgreSQL refused; return True when that explains the refusal."""
        checked = [(event, check_content(event)) for event in self.events]
        rejections = [rejected(event.record, verdict) for event, verdict in checked if verdict is not None]
        self.events = [event for event, verdict in checked if verdict is None]
        self.dead += rejections
        return bool(rejections)

    def halves(self) -> tuple[BatchPart, BatchPart]:
        """Split the part after half of its records. Offsets without a record go to the half whose records follow."""
        offsets = sorted([event.record.offset for event in self.events] + [dead.record.offset for dead in self.dead])
        middle = len(offsets) // 2
        border = offsets[middle - 1] + 1
        first = replace(self.offset_range, next_offset=border, records=middle)
        second = replace(self.offset_range, expected_offset=border, records=len(offsets) - middle)
        return self._within(first), self._within(second)

    def _within(self, offset_range: BatchRange) -> BatchPart:
        events = [event for event in self.events if event.record.offset in offset_range]
        return BatchPart(offset_range, events, [dead for dead in self.dead if dead.record.offset in offset_range])


def rejected(record: Record, rejection: Rejection) -> DeadLetter:
    """Build the dead letter of a record that the contract refuses."""
    failure = Failure(Step.VALIDATE, Verdict.RECORD, rejection.reason, rejection.message)
    now = datetime.now(UTC)
    return DeadLetter(record, failure, now, now, rejection.event_id, header(record, "correlation_id"))
