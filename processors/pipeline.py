"""The pipeline: validate a batch, settle it, publish its dead letters.

Batches of a partition that are waiting are settled in one statement (group commit). When PostgreSQL refuses it, each
batch is settled alone, and the refused one is halved until the bad record is alone; each half has a fence, dead letters
and an offset of its own, so k bad records among n cost about k * log2(n) statements. A single record that is still
refused runs the steps one by one, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from keepstream.processors.batch_part import BatchPart, deduplicate
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.processors.pause import Pause
from keepstream.processors.ports import EventStore, Metrics
from keepstream.processors.retry import RetryPolicy, SharedWait
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.dead_letter import DeadLetter, first_original_timestamp_ms
from keepstream.schemas.failure import Failure, RecordError, Step, TransientError, Verdict
from keepstream.schemas.outcome import OutcomeCounts, Settlement

Attempt = Callable[[], Awaitable[OutcomeCounts]]


@dataclass(frozen=True, slots=True)
class Policies:
    """A retry policy per step. Validate is pure and needs none."""

    store: RetryPolicy
    metrics: RetryPolicy
    foreign_key_wait_s: float = 0.0
    """How long the records of a batch may wait together for rows that they refer to."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps of a batch over the ports that they need."""

    store: EventStore
    outbox: OutboxPublisher
    metrics: Metrics
    pause: Pause
    policies: Policies
    validator: Validator = field(default_factory=Validator)

    async def process(self, batch: Batch) -> OutcomeCounts:
        """Return once no record of the batch can be lost or counted again.

        Raises PartitionRevokedError when the partition is revoked, FencedError when another worker moved it.
        """
        started = time.perf_counter()
        counts, wait = OutcomeCounts(), SharedWait(self.policies.foreign_key_wait_s)
        for part in BatchPart.of(batch, self.validator):
            self.metrics.step_took(Step.VALIDATE, time.perf_counter() - started)
            counts += await self.settle(replace(part, wait=wait))
            started = time.perf_counter()
        topic, partition = batch.offset_range.topic, batch.offset_range.partition
        self.metrics.batch_settled(topic, partition, counts, first_original_timestamp_ms(batch.records))
        return counts

    async def settle(self, part: BatchPart) -> OutcomeCounts:
        """Settle a part as a whole, or in its batches and then in halves when it is refused."""
        retried = False
        while True:
            try:
                return await self._settle(part, retries=retried)
            except (RecordError, TransientError) as error:
                failure = error.failure
            if part.reject_content(part.events):  # our reason is better than PostgreSQL's, and divides nothing
                self._on_retry(failure)
            elif not retried and failure.verdict is Verdict.TRANSIENT and not part.is_event:
                retried = True
                self._on_retry(failure)
            elif part.is_without_event or not (part.is_event or await self._is_suspect(failure)):
                # Nothing of the record is written but its name: what refuses that is the environment.
                await self.pause.once(part.queue, replace(failure, verdict=Verdict.SYSTEMIC))
            else:
                self._on_retry(failure)
                return await self._divide(part)

    async def _divide(self, part: BatchPart) -> OutcomeCounts:
        if part.is_event:
            return await self._settle_alone(part)
        counts = OutcomeCounts()
        for smaller in part.divide():
            counts += await self.settle(smaller)
        return counts

    async def _settle_alone(self, part: BatchPart) -> OutcomeCounts:
        """Run the steps of a single record; it becomes a dead letter when one refuses it."""
        event, began_at, tries = part.events[0], datetime.now(UTC), 0
        while True:
            try:
                return await self._steps_alone(part.queue, partial(self._steps, part))
            except RecordError as error:
                failure = replace(error.failure, attempts=error.failure.attempts + tries)
            part.queue.check_open(waiting=failure.row_may_come)
            if not failure.row_may_come or not await part.wait.again(tries):
                break
            tries += 1
            self._on_retry(failure)
        self.metrics.attempt_failed(failure, retried=False)
        now = datetime.now(UTC)
        dead = DeadLetter(event.record, failure, began_at, now, event.event_id, event.correlation_id)
        return await self.settle(replace(part, events=(), dead=[dead]))

    async def _steps_alone(self, queue: PartitionQueue, attempt: Attempt) -> OutcomeCounts:
        while True:
            try:
                return await self.pause.retry_until_healthy(queue, partial(self._by_policies, attempt))
            except TransientError as error:
                failure = error.failure
            if await self._is_suspect(failure):
                self._on_retry(failure)
                with suppress(TransientError):
                    return await self._once_more(queue, attempt, failure)
            await self.pause.once(queue, failure)

    async def _is_suspect(self, failure: Failure) -> bool:
        """Whether a record may have caused a failure: one that a record can cause, on a healthy server."""
        if failure.verdict is Verdict.RECORD:
            return True
        return failure.record_may_cause and await self.store.healthy()

    async def _once_more(self, queue: PartitionQueue, attempt: Attempt, before: Failure) -> OutcomeCounts:
        """Try again on a server that is healthy now. Raises RecordError when the record is the cause of the failure."""
        try:
            return await self.pause.retry_until_healthy(queue, attempt)
        except TransientError as error:
            if not error.failure.record_may_cause:
                raise
            failure = replace(error.failure, verdict=Verdict.EXHAUSTED, attempts=before.attempts + 1)
            raise RecordError(failure) from None

    async def _by_policies(self, attempt: Attempt) -> OutcomeCounts:
        """Retry the steps as often as the policy of the step that failed says."""
        try:
            return await self.policies.store.run(Step.STORE, attempt, self._on_retry)
        except TransientError as error:
            if error.failure.step is not Step.METRICS:
                raise
        return await self.policies.metrics.run(Step.METRICS, attempt, self._on_retry)

    async def _steps(self, part: BatchPart) -> OutcomeCounts:
        started = time.perf_counter()

        def done(step: Step) -> None:
            nonlocal started
            now = time.perf_counter()
            self.metrics.step_took(step, now - started)
            started = now

        return await self.store.settle_by_steps(part.offset_range, part.events[0], done)

    async def _settle(self, part: BatchPart, *, retries: bool) -> OutcomeCounts:
        """Settle a part in one statement, then publish its dead letters; nothing else is settled until that is done."""
        events, repeats = deduplicate(part.events)
        if repeats.total and part.reject_content(part.beside(events)):  # what PostgreSQL never sees, it cannot refuse
            events, repeats = deduplicate(part.events)
        dead = _of_incarnation(part.dead, part.queue.incarnation)
        if part.ignored:
            repeats += OutcomeCounts(ignored=len(part.ignored))
        settlement = Settlement(part.offset_range, events, dead, repeats, self.outbox.prepare(dead))

        async def attempt() -> OutcomeCounts:
            self.outbox.limit.admit(dead)
            return await self.store.settle(settlement)

        started = time.perf_counter()
        tried = partial(self.policies.store.run, Step.STORE, attempt, self._on_retry) if retries else attempt
        counts = await self.pause.retry_until_healthy(part.queue, tried)
        self.metrics.step_took(Step.STORE, time.perf_counter() - started)
        if dead:
            await self.outbox.publish(part.queue, dead, settlement.outbox)
        return counts

    def _on_retry(self, failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=True)


def _of_incarnation(dead: Sequence[DeadLetter], incarnation: int) -> Sequence[DeadLetter]:
    return [replace(one, incarnation=incarnation) for one in dead] if incarnation else dead
