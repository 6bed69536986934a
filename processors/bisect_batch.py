"""The store step on the step path: every good row of a batch is stored, every bad one stands alone.

A batch that is refused is halved until the bad record stands alone: k bad records among n cost about k * log2(n)
statements, however many batches they spread over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from keepstream.processors.deduplicate import split_at_duplicates
from keepstream.processors.partition_queue import Batch
from keepstream.processors.pause import Pause
from keepstream.processors.ports import EventStore, Metrics
from keepstream.processors.retry import RetryPolicy
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, FencedError, RecordError, Step, TransientError, Verdict
from keepstream.schemas.outcome import StoreResult


@dataclass(slots=True)
class BatchBisection:
    """One batch taken apart: what was stored as pending, what repeated, what died."""

    store: EventStore
    metrics: Metrics
    hold: Pause
    policy: RetryPolicy
    batch: Batch
    stored: StoreResult = field(default_factory=StoreResult)
    dead: list[DeadLetter] = field(default_factory=list)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def store_step(self, events: Sequence[ValidEvent]) -> None:
        """Store events in order. Repeats of an id go in later statements, so that a bad one cannot hide a good one."""
        started = time.perf_counter()
        for run in split_at_duplicates(events):
            await self._store(run)
        self.metrics.step_took(Step.STORE, time.perf_counter() - started)

    async def _store(self, events: Sequence[ValidEvent]) -> None:
        while True:
            try:
                stored = await self.hold.retry_until_healthy(self.batch, lambda: self._attempt(events))
            except RecordError as error:
                return await self._halve(events, error.failure)
            except TransientError as error:
                if await self.store.healthy():
                    return await self._halve(events, replace(error.failure, verdict=Verdict.EXHAUSTED))
                await self.hold.once(self.batch, error.failure)
            else:
                return self._collect(stored)

    async def _attempt(self, events: Sequence[ValidEvent]) -> StoreResult:
        return await self.policy.run(Step.STORE, lambda: self.store.store(self.batch.span, events), self._on_retry)

    async def _halve(self, events: Sequence[ValidEvent], failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=len(events) > 1)
        if len(events) == 1:
            self._bury(events[0], failure)
            return
        middle = len(events) // 2
        await self._store(events[:middle])
        await self._store(events[middle:])

    def _bury(self, event: ValidEvent, failure: Failure) -> None:
        now = datetime.now(UTC)
        self.dead.append(DeadLetter(event.record, failure, self.started_at, now, event.event_id, event.correlation_id))

    def _collect(self, stored: StoreResult) -> None:
        before = self.stored
        if before.server_run not in (None, stored.server_run):
            span = self.batch.span
            raise FencedError(span.topic, span.partition, span.expected_offset)
        pending_ids = [*before.pending_ids, *stored.pending_ids]
        self.stored = StoreResult(pending_ids, before.repeats + stored.repeats, stored.server_run)

    def _on_retry(self, failure: Failure) -> None:
        self.metrics.attempt_failed(failure, retried=True)
