"""A part of a batch: a range of its offsets, with the events and the dead letters in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise

from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.processors.retry import SharedWait
from keepstream.processors.validation.contract import Verdict as ContractVerdict
from keepstream.processors.validation.contract import check_content
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import Ignored, Rejection, ValidEvent
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.outcome import BatchRange, OutcomeCounts
from keepstream.schemas.record import Record, header

DECODED_MAX_BYTES = 2 * 1024 * 1024
"""Documents of decoded values that one transaction holds, but for the last of them: the default of a batch's values."""


@dataclass(slots=True)
class BatchPart:
    """Consecutive records of a batch: each is an event that may still be stored, a dead letter, or ignored."""

    queue: PartitionQueue
    offset_range: BatchRange
    events: Sequence[ValidEvent]
    dead: Sequence[DeadLetter]
    borders: Sequence[int] = ()
    """Offsets between the batches that share the transaction; empty within one batch."""
    wait: SharedWait = field(default_factory=SharedWait)
    ignored: Sequence[int] = ()
    """Offsets of the records that are ignored."""

    @property
    def is_event(self) -> bool:
        """Whether the part is a single record that may still be stored."""
        return self.offset_range.records == 1 and bool(self.events)

    @property
    def is_without_event(self) -> bool:
        """Whether the part is a single record that is a dead letter, or ignored."""
        return self.offset_range.records == 1 and not self.events

    @classmethod
    def of(cls, batch: Batch, validator: Validator) -> Iterator[BatchPart]:
        """Yield the batch, checked against the contract: whole, or in parts where a decode hook makes values larger."""
        offset_range = batch.offset_range
        if validator.decoder is None:
            yield cls._checked(batch, offset_range, batch.records, list(map(validator.check_contract, batch.records)))
            return
        begin, first, verdicts, size_bytes = offset_range.expected_offset, 0, list[ContractVerdict](), 0
        for index, record in enumerate(batch.records):
            if size_bytes >= DECODED_MAX_BYTES:
                end = batch.records[index - 1].offset + 1
                part_range = replace(offset_range, expected_offset=begin, next_offset=end, records=index - first)
                yield cls._checked(batch, part_range, batch.records[first:index], verdicts)
                begin, first, verdicts, size_bytes = end, index, [], 0
            verdicts.append(verdict := validator.check_contract(record))
            size_bytes += len(verdict.document) if isinstance(verdict, ValidEvent) else 0
        last_range = replace(offset_range, expected_offset=begin, records=len(batch.records) - first)
        yield cls._checked(batch, last_range, batch.records[first:], verdicts)

    @classmethod
    def _checked(
        cls, batch: Batch, offset_range: BatchRange, records: Sequence[Record], verdicts: Sequence[ContractVerdict]
    ) -> BatchPart:
        events = [verdict for verdict in verdicts if isinstance(verdict, ValidEvent)]
        dead: Sequence[DeadLetter] = ()
        ignored: Sequence[int] = ()
        if len(events) < len(verdicts):  # most batches have none, and need no second pass
            dead = [rejected(r, v) for r, v in zip(records, verdicts, strict=True) if isinstance(v, Rejection)]
            ignored = [r.offset for r, v in zip(records, verdicts, strict=True) if isinstance(v, Ignored)]
        borders = batch.borders
        if borders:
            borders = [at for at in borders if offset_range.expected_offset < at < offset_range.next_offset]
        return cls(batch.queue, offset_range, events, dead, borders, ignored=ignored)

    def reject_content(self, suspects: Sequence[ValidEvent]) -> bool:
        """Make dead letters of those events whose content PostgreSQL cannot store; return whether there are any."""
        checked = [(event.record, check_content(event)) for event in suspects]
        rejections = {record.offset: rejected(record, verdict) for record, verdict in checked if verdict is not None}
        self.events = [event for event in self.events if event.record.offset not in rejections]
        self.dead = [*self.dead, *rejections.values()]
        return bool(rejections)

    def beside(self, events: Sequence[ValidEvent]) -> Sequence[ValidEvent]:
        """Return the events of the part that are not among these."""
        offsets = {event.record.offset for event in events}
        return [event for event in self.events if event.record.offset not in offsets]

    def divide(self) -> list[BatchPart]:
        """Split the part into its batches, a single batch into halves.

        Offsets without a record go to the half whose records follow.
        """
        begin, end = self.offset_range.expected_offset, self.offset_range.next_offset
        borders = self.borders or [self._middle()]
        return [self._between(*ends) for ends in pairwise([begin, *borders, end])]

    def _middle(self) -> int:
        records = [*(event.record for event in self.events), *(dead.record for dead in self.dead)]
        offsets = sorted([*(record.offset for record in records), *self.ignored])
        return offsets[len(offsets) // 2 - 1] + 1

    def _between(self, begin: int, end: int) -> BatchPart:
        events = [event for event in self.events if begin <= event.record.offset < end]
        dead = [dead for dead in self.dead if begin <= dead.record.offset < end]
        ignored = [offset for offset in self.ignored if begin <= offset < end]
        records = len(events) + len(dead) + len(ignored)
        offset_range = replace(self.offset_range, expected_offset=begin, next_offset=end, records=records)
        return BatchPart(self.queue, offset_range, events, dead, wait=self.wait, ignored=ignored)


def deduplicate(events: Sequence[ValidEvent]) -> tuple[Sequence[ValidEvent], OutcomeCounts]:
    """Keep the newest event of each event_id, in order; count the others as duplicate or stale, as the store would.

    PostgreSQL refuses an upsert that hits a row twice (SQLSTATE 21000).
    """
    newest: dict[str, ValidEvent] = {event.event_id: event for event in events}
    if len(newest) == len(events):
        return events, OutcomeCounts()
    newest.clear()
    counts = OutcomeCounts()
    for event in events:
        rival = newest.setdefault(event.event_id, event)
        if rival is event:
            continue
        if parse_timestamp(event.timestamp) < parse_timestamp(rival.timestamp):
            counts.stale += 1
        else:
            counts.duplicate += 1
            if not _is_sent_again(event, rival):
                newest[event.event_id] = event
    return list(newest.values()), counts


def _is_sent_again(event: ValidEvent, earlier: ValidEvent) -> bool:
    """Whether two records are equal byte for byte: without a timestamp of its own, the later only seems newer.

    A delete by a tombstone has none in its bytes, and yet one of its own.
    """
    again, first = event.record, earlier.record
    if event.timestamp != earlier.timestamp and not event.is_undated:
        return False
    return again.value == first.value and list(again.headers) == list(first.headers)


def rejected(record: Record, rejection: Rejection) -> DeadLetter:
    """Return the dead letter of a record that breaks the contract."""
    failure = Failure(Step.VALIDATE, Verdict.RECORD, rejection.reason, rejection.message)
    now = datetime.now(UTC)
    return DeadLetter(record, failure, now, now, rejection.event_id, header(record, "correlation_id"))
