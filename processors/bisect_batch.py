"""Settling a batch: in one statement if PostgreSQL takes it, else in halves until the bad record stands alone.

Each half is a range of offsets with a fence, dead letters and an offset move of its own: k bad records among n cost
about k * log2(n) statements. A single record that is still refused runs the steps one by one, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from keepstream.processors.batch_part import BatchPart
from keepstream.processors.deduplicate import fold
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import Batch
from keepstream.processors.pause import Pause
from keepstream.processors.ports import EventStore, Metrics
from keepstream.processors.retry import RetryPolicy
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, RecordError, Step, TransientError, Verdict
from keepstream.schemas.outcome import OutcomeCounts, Settlement

Attempt = Callable[[], Awaitable[OutcomeCounts]]


@dataclass(frozen=True, slots=True)
class Policies:
    """A retry policy per step. Validate is pure and needs none."""

    store: RetryPolicy
    metrics: RetryPolicy


@dataclass(frozen=True, slots=True)
class BatchBisection:
    """One batch on its way into the store."""

    store: EventStore
    outbox: OutboxPublisher
    metrics: Metrics
    hold: Pause
    policies: Policies
    batch: Batch

    async def settle(self, part: BatchPart) -> OutcomeCounts:
        """Settle a part as a whole, or in halves when it is refused."""
        retried = False
        while True:
            try:
                return await self._settle(part, retries=retried)
            except (RecordError, TransientError) as error:
                failure = error.failure
            if part.reject_content():  # first: keepstream's reason is better than PostgreSQL's
                self._on_retry(failure)
            elif not retried and failure.verdict is Verdict.TRANSIENT and not part.is_event:
                retried = True
                self._on_retry(failure)
            elif part.is_dead_letter or not (part.is_event or await self._is_suspect(failure)):
                # A dead letter's row holds nothing of its record but the name: what refuses it is the environment.
                await self.hold.once(self.batch.queue, replace(failure, verdict=Verdict.SYSTEMIC))
            else:
                self._on_retry(failure)
                return await self._divide(part)

    async def _divide(self, part: BatchPart) -> OutcomeCounts:
        if part.is_event:
            return await self._settle_alone(part, part.events[0])
        first, second = part.halves()
        return await self.settle(first) + await self.settle(second)

    async def _settle_alone(self, part: BatchPart, event: ValidEvent) -> OutcomeCounts:
        """Run the steps of a single record; it dies when one refuses it."""
        began_at = datetime.now(UTC)
        try:
            return await self._steps_alone(partial(self._steps, part, event))
        except RecordError as error:
            failure = error.failure
        self.metrics.attempt_failed(failure, retried=False)
        now = datetime.now(UTC)
        dead = DeadLetter(event.record, failure, began_at, now, event.event_id, event.correlation_id)
        return await self.settle(BatchPart(part.offset_range, (), [dead]))

    async def _steps_alone(self, attempt: Attempt) -> OutcomeCounts:
        while True:
            try:
                return await self.hold.retry_until_healthy(self.batch.queue, partial(self._by_policies, attempt))
            except TransientError as error:
                failure = error.failure
            if await self._is_suspect(failure):
                self.metrics.attempt_failed(failure, retried=True)
                with suppress(TransientError):
                    return await self._once_more(attempt, failure)
            await self.hold.once(self.batch.queue, failure)

    async def _is_suspect(self, failure: Failure) -> bool:
        """Return whether a record may have caused a failure: one that a record can cause, on a healthy server."""
        if failure.verdict is Verdict.RECORD:
            return True
        return failure.record_may_cause and await self.store.healthy()

    async def _once_more(self, attempt: Attempt, before: Failure) -> OutcomeCounts:
        """Try again on a server that is well now. Raises RecordError when it is the record that it fails of."""
        try:
            return await self.hold.retry_until_healthy(self.batch.queue, attempt)
        except TransientError as error:
            if not error.failure.record_may_cause:
                raise
            failure = replace(error.failure, verdict=Verdict.EXHAUSTED, attempts=before.attempts + 1)
            raise RecordError(failure) from None

    async def _by_policies(self, attempt: Attempt) -> OutcomeCounts:
        """Try the steps again as often as the policy of the step that failed says."""
        try:
            return await self.policies.store.run(Step.STORE, attempt, self._on_retry)
        except TransientError as error:
            if error.failure.step is not Step.METRICS:
                raise
        return await self.policies.metrics.run(Step.METRICS, attempt, self._on_retry)

    async def _steps(self, part: BatchPart, event: ValidEvent) -> OutcomeCounts:
        started = time.perf_counter()

        def done(step: Step) -> None:
            nonlocal started
            now = time.perf_counter()
            self.metrics.step_took(step, now - started)
            started = now

        return await self.store.settle_by_steps(part.offset_range, event, done)

    async def _settle(self, part: BatchPart, *, retries: bool) -> OutcomeCounts:
        """Settle a part in one statement, then publish its dead letters; nothing else is settled until that is done."""
        events, folded = fold(part.events)
        if folded.total and part.reject_content():  # what is folded away would never meet PostgreSQL's refusal
            events, folded = fold(part.events)
        dead = self._of_incarnation(part.dead)
        settlement = Settlement(part.offset_range, events, dead, folded, self.outbox.prepare(dead))

        async def attempt() -> OutcomeCounts:
            self.outbox.limit.admit(dead)
            return await self.store.settle(settlement)

        started = time.perf_counter()
        tried = partial(self.policies.store.run, Step.STORE, attempt, self._on_retry) if retries else attempt
        counts = await self.hold.retry_until_healthy(self.batch.queue, tried)
        self.metrics.step_took(Step.STORE, time.perf_counter() - started)
        if dead:
            await self.outbox.publish(self.batch.queue, dead, settlement.outbox)
        return counts

    def _of_incarnation(self, dead: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        incarnation = self.batch.queue.incarnation
        return [replace(one, incarnation=incarnation) for one in dead] if incarnation else dead

    def _on_retry(self, failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=True)
