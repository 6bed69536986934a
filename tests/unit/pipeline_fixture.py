"""A pipeline over fakes, with waits too short to notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from keepstream.app.testing.memory import MemoryDeadLetters, MemoryStore, RecordedMetrics
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import TransactionLimit
from keepstream.processors.pause import Pause
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.processors.retry import RetryPolicy
from keepstream.processors.validation.jsonb import unholdable
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import RecordError, Step, StepError, SystemicError, TransientError, Verdict
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Record
from tests.builders import make_batch, make_failure

QUICK = RetryPolicy(max_retries=2, base_s=1e-6, cap_s=1e-6, attempt_timeout_s=10, budget_s=30)


def deadlock() -> TransientError:
    return TransientError(make_failure(verdict=Verdict.TRANSIENT, reason="deadlock_detected", sqlstate="40P01"))


def too_slow() -> TransientError:
    failure = make_failure(verdict=Verdict.TRANSIENT, reason="query_canceled", sqlstate="57014", record_may_cause=True)
    return TransientError(failure)


def no_such_row() -> RecordError:
    return RecordError(make_failure(reason="foreign_key_violation", sqlstate="23503", row_may_come=True))


def unreachable() -> SystemicError:
    return SystemicError(make_failure(verdict=Verdict.SYSTEMIC, reason="database_unreachable", sqlstate=None))


def dlq_unavailable() -> SystemicError:
    return SystemicError(make_failure(verdict=Verdict.SYSTEMIC, reason="dlq_unavailable", sqlstate=None))


@dataclass
class StoreScript:
    """What the store refuses: content as PostgreSQL does, some ids, and whatever the script says call by call."""

    poison: frozenset[str] = frozenset()
    script: list[StepError | None] = field(default_factory=list)
    calls: list[tuple[str, int]] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    """How often these are refused, for want of a row that they refer to."""
    undeliverable: frozenset[str] = frozenset()
    """Rows of these are taken as pending and refused as delivered."""

    def __call__(self, method: str, events: Sequence[ValidEvent]) -> None:
        self.calls.append((method, len(events)))
        if self.script and (error := self.script.pop(0)):
            raise error
        if any(unholdable(event.document) for event in events):
            raise RecordError(make_failure(reason="untranslatable_character", sqlstate="22P05"))
        for event_id in {event.event_id for event in events} & {name for name, left in self.waiting.items() if left}:
            self.waiting[event_id] -= 1
            raise no_such_row()
        if any(event.event_id in self.poison for event in events):
            raise RecordError(make_failure())
        if method != Step.STORE and any(event.event_id in self.undeliverable for event in events):
            raise RecordError(make_failure(step=Step.METRICS if method == Step.METRICS else Step.STORE))


@dataclass
class PipelineFixture:
    """Everything a pipeline touches."""

    rules: StoreScript = field(default_factory=StoreScript)
    letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    metrics: RecordedMetrics = field(default_factory=RecordedMetrics)
    store: MemoryStore = field(init=False)
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore({("events", 0): 0}, refuse=self.rules)
        pause = Pause(self.metrics, base_s=1e-6, cap_s=1e-6)
        outbox = OutboxPublisher(self.store, self.letters, self.metrics, pause)
        self.pipeline = Pipeline(self.store, outbox, self.metrics, pause, Policies(QUICK, QUICK))

    async def process(self, records: Sequence[Record]) -> OutcomeCounts:
        return await self.pipeline.process(make_batch(records))

    async def process_joined(self, *batches: Sequence[Record]) -> OutcomeCounts:
        """Process consecutive batches in one transaction."""
        queue = make_batch(batches[0], limit=TransactionLimit(records=10_000, size_bytes=10**9)).queue
        for records in batches[1:]:
            if fetched := queue.expect(records):
                queue.append(fetched)
        batch = await queue.next_batch()
        assert batch is not None
        return await self.pipeline.process(batch)

    @property
    def next_offset(self) -> int | None:
        return self.store.next_offsets.get(("events", 0))

    @property
    def statuses(self) -> dict[str, str]:
        return {event_id: row.status for event_id, row in self.store.rows.items()}

    @property
    def causes(self) -> dict[int, str]:
        """Return why the record at which offset died."""
        return {letter.record.offset: letter.failure.reason for letter in self.letters.published}
