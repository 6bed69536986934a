"""PostgreSQL's tables and the dead letter topic in memory, for tests without servers.

keepstream's contract suites run against these and against the real servers alike.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from keepstream.processors.validation.jsonb import unholdable
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, FencedError, RecordError, Step, StepError, Verdict
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Publication, Settlement
from keepstream.schemas.record import KafkaRecord


@dataclass
class Row:
    """What the table holds about an event."""

    document: bytes
    status: str
    version: tuple[datetime, int, int]


@dataclass
class MemoryStore:
    """The table of events in memory, with PostgreSQL's rules.

    ``refuse`` is asked before each write and may raise; it sees "settle" or the step, and the events.
    """

    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    incarnations: Counter[tuple[str, int]] = field(default_factory=Counter)
    topic_ids: dict[tuple[str, int], str | None] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    totals: OutcomeCounts = field(default_factory=OutcomeCounts)
    dead_letters: dict[str, DeadLetter] = field(default_factory=dict)
    outbox: dict[tuple[str, int], dict[str, KafkaRecord]] = field(default_factory=dict)
    """(topic, partition) -> id of the dead letter -> the record to publish."""
    refuse: Callable[[str, Sequence[ValidEvent]], None] = lambda _method, _events: None
    is_healthy: bool = True
    removal_failures: list[StepError] = field(default_factory=list)
    """Raised first when dead letters leave the outbox, one per call."""
    settled: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each transaction: where it began, where it ended, how many records it took."""

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        self._accept("settle", settlement.events)
        self._fence(settlement.offset_range)
        counts = OutcomeCounts(dead_lettered=len(settlement.dead_letters)) + settlement.counts
        for event in settlement.events:
            counts += self._write(event)
        self._finish(settlement, counts)
        return counts

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        for step in (Step.STORE, Step.METRICS):
            self.refuse(step, [event])
            done(step)
        self._fence(offset_range)
        counts = self._write(event)
        self._finish(Settlement(offset_range, [event]), counts)
        return counts

    async def healthy(self) -> bool:
        return self.is_healthy

    async def load(self, topic: str, partition: int) -> list[KafkaRecord]:
        """As `DeadLetterOutbox`."""
        waiting = map(DeadLetterRecord, self.outbox.get((topic, partition), {}).values())
        return [one.record for one in sorted(waiting, key=lambda one: (one.incarnation, one.record.offset))]

    async def remove(self, record_ids: Mapping[str, str | None]) -> None:
        if self.removal_failures:
            raise self.removal_failures.pop(0)
        for waiting, dead_letter_id in itertools.product(self.outbox.values(), record_ids):
            waiting.pop(dead_letter_id, None)

    def _accept(self, method: str, events: Sequence[ValidEvent]) -> None:
        ids = {event.event_id for event in events}
        if len(ids) < len(events):
            raise ValueError("one statement may not hit a row twice (SQLSTATE 21000)")
        self.refuse(method, events)

    def _fence(self, offset_range: BatchRange) -> None:
        partition = offset_range.topic, offset_range.partition
        expected = offset_range.expected_offset, offset_range.incarnation, offset_range.topic_id
        if (self.next_offsets.get(partition), self.incarnations[partition], self.topic_ids.get(partition)) != expected:
            raise FencedError(offset_range.topic, offset_range.partition, offset_range.expected_offset)

    def _finish(self, settlement: Settlement, counts: OutcomeCounts) -> None:
        self.totals += counts
        self.dead_letters.update({dead.id: dead for dead in settlement.dead_letters})
        for record in settlement.outbox:
            self.outbox.setdefault((record.topic, record.partition), {})[DeadLetterRecord(record).id] = record
        for dead in settlement.dead_letters:
            row = self.rows.get(dead.event_id or "")
            if row and row.status == "pending":
                row.status = "failed"
        offset_range = settlement.offset_range
        self.settled.append((offset_range.expected_offset, offset_range.next_offset, offset_range.records))
        self.next_offsets[offset_range.topic, offset_range.partition] = offset_range.next_offset

    def _write(self, event: ValidEvent) -> OutcomeCounts:
        """Return what one event counts as; ``delivered`` means: a row that was not delivered before."""
        version = (parse_timestamp(event.timestamp), event.record.partition, event.record.offset)
        row = self.rows.get(event.event_id)
        if row is None or _is_wanted(event, version, row):
            self.rows[event.event_id] = Row(event.document, "delivered", version)
            is_known = row is not None and row.status == "delivered"
            return OutcomeCounts(duplicate=1, updated=1) if is_known else OutcomeCounts(delivered=1)
        return OutcomeCounts(stale=1) if version[0] < row.version[0] else OutcomeCounts(duplicate=1)


def _is_wanted(event: ValidEvent, version: tuple[datetime, int, int], row: Row) -> bool:
    """As sql/newer.sql."""
    if row.status != "delivered":
        return row.status == "failed" or version >= row.version
    (content, is_undated), (known, _) = _content(event.document), _content(row.document)
    is_same = content == known and (is_undated or version[0] == row.version[0])
    return version > row.version and not is_same


@lru_cache(maxsize=10_000)
def _content(document: bytes) -> tuple[str, bool]:
    """Return what is compared of an event, and whether it had no timestamp of its own."""
    fields = json.loads(document)
    compared = {name: fields.get(name) for name in ("payload", "metadata", "correlation_id")}
    return json.dumps(compared, sort_keys=True), fields.get("@undated") is True


@dataclass
class MemoryDeadLetters:
    """A dead letter topic in memory. ``failures`` are raised first, one per call."""

    records: list[KafkaRecord] = field(default_factory=list)
    failures: list[StepError] = field(default_factory=list)

    @property
    def published(self) -> list[DeadLetter]:
        return [DeadLetterRecord(record).to_dead_letter() for record in self.records]

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        if self.failures:
            return Publication(failure=self.failures.pop(0).failure)
        ids = (DeadLetterRecord(record).id for record in records)
        record_ids = {one: f"dlq-0-{offset}" for offset, one in enumerate(ids, len(self.records))}
        self.records.extend(records)
        return Publication(record_ids)


def refuse_content(_method: str, events: Sequence[ValidEvent]) -> None:
    """Refuse what jsonb cannot store, as PostgreSQL does. Raises RecordError."""
    if any(unholdable(event.document) for event in events):
        reason = "untranslatable_character"
        raise RecordError(Failure(Step.STORE, Verdict.RECORD, reason, "jsonb cannot store a value of it", "22P05"))


@dataclass
class RecordedMetrics:
    """Records every call."""

    settled: list[OutcomeCounts] = field(default_factory=list)
    failures: list[tuple[Failure, bool]] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    pauses: list[Failure] = field(default_factory=list)
    resumptions: int = 0
    fences: int = 0
    steps: list[Step] = field(default_factory=list)
    publications: int = 0

    def batch_settled(self, topic: str, partition: int, counts: OutcomeCounts, oldest_timestamp_ms: int) -> None:
        self.settled.append(counts)

    def step_took(self, step: Step, duration_s: float) -> None:
        self.steps.append(step)

    def attempt_failed(self, failure: Failure, *, retried: bool) -> None:
        self.failures.append((failure, retried))

    def publish_took(self, duration_s: float) -> None:
        self.publications += 1

    def dead_lettered(self, dead_letters: Sequence[DeadLetter]) -> None:
        self.dead_letters.extend(dead_letters)

    def paused(self, topic: str, partition: int, failure: Failure) -> None:
        self.pauses.append(failure)

    def resumed(self, topic: str, partition: int) -> None:
        self.resumptions += 1

    def fenced(self, topic: str, partition: int) -> None:
        self.fences += 1
