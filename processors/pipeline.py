"""The life of one batch: every record leaves by exactly one door, stored or dead-lettered.

Fast path: one transaction settles the whole batch. When it fails for a reason that lies in the records or in the
moment, the step path takes over: `isolate.store_step`, then `metrics`, each under its own retry policy. When it fails
for a reason that lies in the environment, the batch is held and tried again until it works or the partition is taken
away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keepstream.processors.bisect_batch import BatchBisection
from keepstream.processors.deduplicate import fold
from keepstream.processors.partition_queue import Batch
from keepstream.processors.pause import Pause
from keepstream.processors.ports import DeadLetterQueue, EventStore, Metrics
from keepstream.processors.retry import RetryPolicy
from keepstream.processors.validation.validate import check_content, check_contract
from keepstream.schemas.dead_letter import DeadLetter, first_original_timestamp_ms
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.failure import Failure, RecordError, Step, TransientError, Verdict
from keepstream.schemas.outcome import OutcomeCounts, Settlement
from keepstream.schemas.record import Record, header


@dataclass(slots=True)
class BatchState:
    """A batch on its way: what is still good, what has died, and how much of that is already published."""

    batch: Batch
    events: Sequence[ValidEvent]
    dead: list[DeadLetter]
    published: int = 0


@dataclass(frozen=True, slots=True)
class Policies:
    """A retry policy per step. Validate is pure and needs none."""

    store: RetryPolicy = field(default_factory=RetryPolicy)
    metrics: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The three steps over the ports they need."""

    store: EventStore
    dead_letters: DeadLetterQueue
    metrics: Metrics
    hold: Pause
    policies: Policies = field(default_factory=Policies)

    async def process(self, batch: Batch) -> OutcomeCounts:
        """Return once no record of the batch can be lost or counted again.

        Raises AbandonedError when the partition is taken away, FencedError when it was moved.
        """
        work = self._validate(batch)
        tally = await self._settle(work)
        if tally is None:
            tally = await self._by_steps(work)
        self.metrics.dead_lettered(work.dead)
        span = batch.span
        self.metrics.batch_settled(span.topic, span.partition, tally, first_original_timestamp_ms(batch.records))
        return tally

    def _validate(self, batch: Batch) -> BatchState:
        started = time.perf_counter()
        work = BatchState(batch, [], [])
        work.events = _accept(work, map(check_contract, batch.records), batch.records)
        self.metrics.step_took(Step.VALIDATE, time.perf_counter() - started)
        return work

    async def _settle(self, work: BatchState) -> OutcomeCounts | None:
        """Take the fast path; return None when the steps have to be taken one by one."""
        try:
            return await self._settle_once(work)
        except RecordError as error:
            self.metrics.attempt_failed(error.failure, retried=True)
            if not _reject_content(work):
                return None
        except TransientError as error:
            self.metrics.attempt_failed(error.failure, retried=True)
            _reject_content(work)  # or the steps would give PostgreSQL's reason for what has one of ours
            return None
        return await self._settle(work)

    async def _settle_once(self, work: BatchState) -> OutcomeCounts:
        events, folded = fold(work.events)
        if folded.total and _reject_content(work):  # what is folded away would never meet PostgreSQL's refusal
            events, folded = fold(work.events)
        await self._publish(work)
        settlement = Settlement(work.batch.span, events, work.dead, folded)
        started = time.perf_counter()
        tally = await self.hold.retry_until_healthy(work.batch, lambda: self.store.settle(settlement))
        self.metrics.step_took(Step.STORE, time.perf_counter() - started)
        return tally

    async def _by_steps(self, work: BatchState) -> OutcomeCounts:
        isolation = BatchBisection(self.store, self.metrics, self.hold, self.policies.store, work.batch)
        await isolation.store_step(work.events)
        work.dead.extend(isolation.dead)
        await self._publish(work)
        return await self._metrics_step(work, isolation)

    async def _metrics_step(self, work: BatchState, isolation: BatchBisection) -> OutcomeCounts:
        settlement = Settlement(work.batch.span, (), work.dead)
        started = time.perf_counter()
        while True:
            try:
                tally = await self.hold.retry_until_healthy(
                    work.batch,
                    lambda: self.policies.metrics.run(
                        Step.METRICS, lambda: self.store.count(settlement, isolation.stored), self._on_retry
                    ),
                )
            except TransientError as error:
                # The rows are stored and only await their count: there is no record to blame, so wait.
                await self.hold.once(work.batch, error.failure)
            else:
                self.metrics.step_took(Step.METRICS, time.perf_counter() - started)
                return tally

    def _on_retry(self, failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=True)

    async def _publish(self, work: BatchState) -> None:
        """Publish what is not published yet; the offset moves only after the broker has confirmed it."""
        letters = work.dead[work.published :]
        if letters:
            placed = await self.hold.retry_until_healthy(work.batch, lambda: self.dead_letters.publish(letters))
            work.dead[work.published :] = placed
            work.published = len(work.dead)


def _reject_content(work: BatchState) -> bool:
    """Look closer at what PostgreSQL refused; True when that explains the refusal."""
    events, before = work.events, len(work.dead)
    checked = [check_content(event) or event for event in events]
    work.events = _accept(work, checked, [event.record for event in events])
    return len(work.dead) > before


def _accept(
    work: BatchState,
    checked: Sequence[ValidEvent | Rejection] | map[ValidEvent | Rejection],
    records: Sequence[Record],
) -> list[ValidEvent]:
    """Split a check's verdicts: events go on, rejections join the dead."""
    events = []
    for record, verdict in zip(records, checked, strict=True):
        if isinstance(verdict, Rejection):
            work.dead.append(rejected(record, verdict))
        else:
            events.append(verdict)
    return events


def rejected(record: Record, rejection: Rejection) -> DeadLetter:
    """Build the dead letter of a record that the contract refuses."""
    failure = Failure(Step.VALIDATE, Verdict.RECORD, rejection.reason, rejection.message)
    now = datetime.now(UTC)
    return DeadLetter(record, failure, now, now, rejection.event_id, header(record, "correlation_id"))
