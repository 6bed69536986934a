"""Settling a batch: in one statement if PostgreSQL takes it, else in halves until the bad record stands alone.

Each half is a range of offsets with a fence, dead letters and an offset move of its own: k bad records among n cost
about k * log2(n) statements. A single record that is still refused runs the steps one by one, in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from keepstream.processors.batch_part import BatchPart
from keepstream.processors.deduplicate import fold
from keepstream.processors.partition_queue import Batch
from keepstream.processors.pause import Pause
from keepstream.processors.ports import DeadLetterQueue, EventStore, Metrics
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


@dataclass(slots=True)
class BatchBisection:
    """One batch on its way into the store. ``dead`` are the letters that were settled."""

    store: EventStore
    dead_letters: DeadLetterQueue
    metrics: Metrics
    hold: Pause
    policies: Policies
    batch: Batch
    dead: list[DeadLetter] = field(default_factory=list)
    _published: dict[int, DeadLetter] = field(default_factory=dict)

    async def settle(self, part: BatchPart) -> OutcomeCounts:
        """Settle a part as a whole, or in halves when it is refused."""
        retried = False
        while True:
            try:
                return await self._settle(part, retries=retried)
            except RecordError as error:
                failure = error.failure
                self.metrics.attempt_failed(failure, retried=True)
                if not part.reject_content():
                    return await self._divide(part, failure)
            except TransientError as error:
                failure = error.failure
                if part.reject_content():  # first, or PostgreSQL's reason stood where ours is better
                    self.metrics.attempt_failed(failure, retried=True)
                elif retried and not await self._is_suspect(failure):
                    await self.hold.once(self.batch, failure)
                else:
                    self.metrics.attempt_failed(failure, retried=True)
                    if retried or (part.span.records == 1 and part.events):
                        return await self._divide(part, failure)
                    retried = True

    async def _divide(self, part: BatchPart, failure: Failure) -> OutcomeCounts:
        if part.span.records > 1:
            first, second = part.halves()
            return await self.settle(first) + await self.settle(second)
        if part.events:
            return await self._settle_alone(part, part.events[0])
        # What refuses the row of a dead letter is not the record: nothing of it is in that row but its name.
        await self.hold.once(self.batch, replace(failure, verdict=Verdict.SYSTEMIC))
        return await self.settle(part)

    async def _settle_alone(self, part: BatchPart, event: ValidEvent) -> OutcomeCounts:
        """Run the steps of a single record; it dies when one refuses it."""
        began_at = datetime.now(UTC)
        try:
            return await self._steps_alone(partial(self._steps, part, event))
        except RecordError as error:
            failure = error.failure
        self.metrics.attempt_failed(failure, retried=False)
        now = datetime.now(UTC)
        letter = DeadLetter(event.record, failure, began_at, now, event.event_id, event.correlation_id)
        return await self.settle(BatchPart(part.span, (), [letter]))

    async def _steps_alone(self, attempt: Attempt) -> OutcomeCounts:
        while True:
            try:
                return await self.hold.retry_until_healthy(self.batch, partial(self._by_policies, attempt))
            except TransientError as error:
                failure = error.failure
            if await self._is_suspect(failure):
                self.metrics.attempt_failed(failure, retried=True)
                with suppress(TransientError):
                    return await self._once_more(attempt, failure)
            await self.hold.once(self.batch, failure)

    async def _is_suspect(self, failure: Failure) -> bool:
        """Say whether a record may have caused a failure: one that a record can cause, on a server that is well."""
        return failure.record_may_cause and await self.store.healthy()

    async def _once_more(self, attempt: Attempt, before: Failure) -> OutcomeCounts:
        """Try again on a server that is well now. Raises RecordError when it is the record that it fails of."""
        try:
            return await self.hold.retry_until_healthy(self.batch, attempt)
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

        return await self.store.settle_by_steps(part.span, event, done)

    async def _settle(self, part: BatchPart, *, retries: bool) -> OutcomeCounts:
        events, folded = fold(part.events)
        if folded.total and part.reject_content():  # what is folded away would never meet PostgreSQL's refusal
            events, folded = fold(part.events)
        letters = await self._publish(part.dead)
        attempt = partial(self.store.settle, Settlement(part.span, events, letters, folded))
        started = time.perf_counter()
        tried = partial(self.policies.store.run, Step.STORE, attempt, self._on_retry) if retries else attempt
        tally = await self.hold.retry_until_healthy(self.batch, tried)
        self.metrics.step_took(Step.STORE, time.perf_counter() - started)
        self.dead += letters
        return tally

    async def _publish(self, dead: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        """Publish what is not published yet; the offset moves only after the broker has confirmed it."""
        incarnation = self.batch.queue.incarnation
        new = [
            replace(letter, incarnation=incarnation) for letter in dead if letter.record.offset not in self._published
        ]
        if new:
            placed = await self.hold.retry_until_healthy(self.batch, lambda: self.dead_letters.publish(new))
            self._published |= {letter.record.offset: letter for letter in placed}
        return [self._published[letter.record.offset] for letter in dead]

    def _on_retry(self, failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=True)
