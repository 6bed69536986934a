"""Named points at which a worker dies on purpose, as a power cut would: for the tests that prove that nothing is lost.

``KEEPSTREAM_CRASH_AT=after-settle`` dies the first time that point is passed, ``after-settle:3`` the third time. Unset,
nothing here is in the way: the parts are wrapped only when a point is named. The idea is fail points (FreeBSD's
``fail(9)``, TiKV's fail-rs), kept out of the code they test.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from keepstream.app.worker.faust_app import BatchConsumer
from keepstream.processors.pipeline import Pipeline
from keepstream.processors.ports import DeadLetterQueue, EventStore
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement, StoreResult

EXIT_CRASH_POINT = 86
CRASH_POINTS = {
    "before-validate": "a batch was delivered to its lane, nothing is done",
    "after-validate": "the contract was checked, nothing is written anywhere",
    "before-publish": "dead letters are about to be published",
    "during-publish": "dead letters are sent, the broker's confirmation is not awaited",
    "after-publish": "the broker has confirmed the dead letters, the offset has not moved",
    "before-settle": "fast path: its transaction is about to begin",
    "during-settle": "fast path: the statement is on its way, and commits or not",
    "after-settle": "fast path: PostgreSQL has committed, the lane does not know",
    "before-store": "step path: rows are about to be stored as pending",
    "during-store": "step path: the statement that stores is on its way",
    "after-store": "step path: rows are pending and committed, not counted",
    "before-count": "step path: pending rows are about to be counted",
    "during-count": "step path: the statement that counts is on its way",
    "after-count": "step path: counted and committed, the lane does not know",
    "before-lane-settle": "the batch is done, its lane still holds it",
    "before-offset-commit": "the lane has settled, Kafka's offset is not committed",
    "after-offset-commit": "Kafka has confirmed the offset",
}
"""Each point and what is true there, in the order of a batch's life."""
CRASH_AT_PATTERN = rf"^(?:{'|'.join(CRASH_POINTS)})(?::[1-9][0-9]{{0,8}})?$"
_SENT_AFTER_S = {"publish": 0.02, "settle": 0.001, "store": 0.001, "count": 0.001}
T = TypeVar("T")


@dataclass(slots=True)
class FailPoint:
    """Counts the passings of one point and ends the process at the last."""

    point: str
    passings: int = 1

    def passing(self, point: str) -> None:
        if point == self.point:
            self.passings -= 1
            if self.passings == 0:
                os._exit(EXIT_CRASH_POINT)

    async def during(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        """Await the work; pass by its middle, if that is the point: it has been sent, and nobody knows how it ends."""
        if self.point != f"during-{what}":
            return await work
        under_way = asyncio.ensure_future(work)
        await asyncio.sleep(_SENT_AFTER_S[what])
        self.passing(self.point)
        return await under_way

    def armed(self, pipeline: Pipeline) -> Pipeline:
        """Return the same pipeline over ports that pass by this trap."""
        return replace(
            pipeline,
            store=_Store(self, pipeline.store),
            dead_letters=_DeadLetters(self, pipeline.dead_letters),
            metrics=cast("Any", _Metrics(self, pipeline.metrics)),
        )

    def armed_consumer(self, base: type[BatchConsumer]) -> type[BatchConsumer]:
        """Return a consumer class that passes by this trap."""
        trap = self

        class Consumer(base):  # type: ignore[valid-type,misc]
            def _message(self, tp: Any, batch: Any) -> Any:  # noqa: ANN401
                trap.passing("before-validate")
                return super()._message(tp, batch)

            async def _commit_settled(self, timeout_s: float) -> bool:
                if self.assigned.uncommitted():
                    trap.passing("before-offset-commit")
                committed: bool = await super()._commit_settled(timeout_s)
                if committed:
                    trap.passing("after-offset-commit")
                return committed

        return Consumer


def parse_fail_point(crash_at: str | None) -> FailPoint | None:
    """Read ``POINT`` or ``POINT:N``; None stays None."""
    if crash_at is None:
        return None
    point, _, passings = crash_at.partition(":")
    return FailPoint(point, int(passings or 1))


@dataclass(frozen=True, slots=True)
class _Store:
    trap: FailPoint
    inner: EventStore

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        self.trap.passing("before-settle")
        tally = await self.trap.during("settle", self.inner.settle(settlement))
        self.trap.passing("after-settle")
        return tally

    async def store(self, span: BatchRange, events: Sequence[ValidEvent]) -> StoreResult:
        self.trap.passing("before-store")
        stored = await self.trap.during("store", self.inner.store(span, events))
        self.trap.passing("after-store")
        return stored

    async def count(self, settlement: Settlement, stored: StoreResult) -> OutcomeCounts:
        self.trap.passing("before-count")
        tally = await self.trap.during("count", self.inner.count(settlement, stored))
        self.trap.passing("after-count")
        return tally

    async def healthy(self) -> bool:
        return await self.inner.healthy()


@dataclass(frozen=True, slots=True)
class _DeadLetters:
    trap: FailPoint
    inner: DeadLetterQueue

    async def publish(self, letters: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        self.trap.passing("before-publish")
        placed = await self.trap.during("publish", self.inner.publish(letters))
        self.trap.passing("after-publish")
        return placed


class _Metrics:
    """Told in the middle of things, so it knows when they happen."""

    def __init__(self, trap: FailPoint, inner: Any) -> None:  # noqa: ANN401
        self._trap = trap
        self._inner = inner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._inner, name)

    def step_took(self, step: Step, duration_s: float) -> None:
        self._inner.step_took(step, duration_s)
        if step is Step.VALIDATE:
            self._trap.passing("after-validate")

    def batch_settled(self, topic: str, partition: int, tally: OutcomeCounts, oldest_timestamp_ms: int) -> None:
        self._inner.batch_settled(topic, partition, tally, oldest_timestamp_ms)
        self._trap.passing("before-lane-settle")
