"""Fakes of the ports. The contract suites run against these and against the real parts alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from keepstream.processors.validation.validate import moment
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, FencedError, Step, StepError
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement, StoreResult

FIRST_RUN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Row:
    """What the table holds about an event."""

    document: bytes
    status: str
    version: tuple[datetime, int, int]
    content: Any


@dataclass
class MemoryStore:
    """The table of events in memory, with PostgreSQL's rules.

    ``refuse`` is asked before each write and may raise; it sees the method's name and the events.
    """

    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    totals: OutcomeCounts = field(default_factory=OutcomeCounts)
    letters: dict[str, DeadLetter] = field(default_factory=dict)
    refuse: Callable[[str, Sequence[ValidEvent]], None] = lambda _method, _events: None
    is_healthy: bool = True
    run: datetime = FIRST_RUN
    """Since when the server runs."""

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        self._accept("settle", settlement.events)
        self._fence(settlement.span)
        tally = OutcomeCounts(dead_lettered=len(settlement.dead)) + settlement.tally
        for event in settlement.events:
            tally += self._write(event, "delivered")
        self._finish(settlement, tally)
        return tally

    async def store(self, span: BatchRange, events: Sequence[ValidEvent]) -> StoreResult:
        self._accept("store", events)
        self._fence(span)
        pending, repeats = [], OutcomeCounts()
        for event in events:
            tally = self._write(event, "pending")
            if tally.delivered:
                pending.append(event.event_id)
            else:
                repeats += tally
        return StoreResult(pending, repeats, self.run)

    async def count(self, settlement: Settlement, stored: StoreResult) -> OutcomeCounts:
        self._accept("count", ())
        self._fence(settlement.span)
        if stored.server_run not in (None, self.run):
            raise FencedError(settlement.span.topic, settlement.span.partition, settlement.span.expected_offset)
        pending_ids = stored.pending_ids
        moved = {i for i in pending_ids if self.rows[i].status != "delivered"}
        for event_id in moved:
            self.rows[event_id].status = "delivered"
        tally = OutcomeCounts(len(moved), len(pending_ids) - len(moved), 0, len(settlement.dead)) + stored.repeats
        self._finish(settlement, tally)
        return tally

    async def healthy(self) -> bool:
        return self.is_healthy

    def _accept(self, method: str, events: Sequence[ValidEvent]) -> None:
        ids = {event.event_id for event in events}
        assert len(ids) == len(events), "one statement may not hit a row twice (SQLSTATE 21000)"
        self.refuse(method, events)

    def _fence(self, span: BatchRange) -> None:
        if self.next_offsets.get((span.topic, span.partition)) != span.expected_offset:
            raise FencedError(span.topic, span.partition, span.expected_offset)

    def _finish(self, settlement: Settlement, tally: OutcomeCounts) -> None:
        self.totals += tally
        self.letters.update({letter.id: letter for letter in settlement.dead})
        for letter in settlement.dead:
            row = self.rows.get(letter.event_id or "")
            if row and row.status == "pending":
                row.status = "failed"
        self.next_offsets[settlement.span.topic, settlement.span.partition] = settlement.span.next_offset

    def _write(self, event: ValidEvent, status: str) -> OutcomeCounts:
        """Return what one event counts as; ``delivered`` means: a row that was not delivered before."""
        version = (moment(event.timestamp), event.record.partition, event.record.offset)
        content = event.document.rpartition(b',"@offset"')[0]
        row = self.rows.get(event.event_id)
        if row is None:
            self.rows[event.event_id] = Row(event.document, status, version, content)
            return OutcomeCounts(delivered=1)
        if version > row.version and (row.status != "delivered" or content != row.content):
            row.document, row.version, row.content = event.document, version, content
            if row.status == "delivered":
                return OutcomeCounts(duplicate=1, updated=1)
            row.status = status
            return OutcomeCounts(delivered=1)
        if version == row.version and row.status != "delivered":
            row.status = status
            return OutcomeCounts(delivered=1)
        return OutcomeCounts(stale=1) if version[0] < row.version[0] else OutcomeCounts(duplicate=1)


@dataclass
class MemoryDeadLetters:
    """A dead letter topic in memory. ``failures`` are raised first, one per call."""

    published: list[DeadLetter] = field(default_factory=list)
    failures: list[StepError] = field(default_factory=list)

    async def publish(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        if self.failures:
            raise self.failures.pop(0)
        placed = [replace(letter, place=f"dlq-0-{i}") for i, letter in enumerate(letters, len(self.published))]
        self.published.extend(placed)
        return placed


@dataclass
class RecordedMetrics:
    """Remembers what it was told."""

    settled: list[OutcomeCounts] = field(default_factory=list)
    failures: list[tuple[Failure, bool]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    pauses: list[Failure] = field(default_factory=list)
    resumptions: int = 0
    fences: int = 0
    steps: list[Step] = field(default_factory=list)

    def batch_settled(self, topic: str, partition: int, tally: OutcomeCounts, oldest_timestamp_ms: int) -> None:
        self.settled.append(tally)

    def step_took(self, step: Step, duration_s: float) -> None:
        self.steps.append(step)

    def attempt_failed(self, failure: Failure, *, retried: bool) -> None:
        self.failures.append((failure, retried))

    def dead_lettered(self, letters: Sequence[DeadLetter]) -> None:
        self.letters.extend(letters)

    def paused(self, topic: str, partition: int, failure: Failure) -> None:
        self.pauses.append(failure)

    def resumed(self, topic: str, partition: int) -> None:
        self.resumptions += 1

    def fenced(self, topic: str, partition: int) -> None:
        self.fences += 1
