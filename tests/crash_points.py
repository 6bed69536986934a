"""A worker that dies on purpose at a named point, as in a power cut.

``CRASH_AT=after-settle python -m tests.crash_points`` dies the first time that point is hit, ``after-settle:3`` the
third time. The idea is fail points
(FreeBSD's ``fail(9)``, TiKV's fail-rs), kept out of the code they test.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from keepstream.app.config.contract import load_contracts
from keepstream.app.config.settings import Settings
from keepstream.app.telemetry import logging as logs
from keepstream.app.worker.faust_app import BatchConsumer
from keepstream.app.worker.run import run
from keepstream.processors.pipeline import Pipeline
from keepstream.processors.ports import DeadLetterOutbox, DeadLetterQueue, EventStore
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Step
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Publication, Settlement
from keepstream.schemas.record import KafkaRecord

EXIT_CRASH_POINT = 86
CRASH_POINTS = {
    "before-validate": "records were fetched, nothing is done",
    "after-validate": "the contract was checked, nothing is written anywhere",
    "before-settle": "fast path: its transaction is about to begin",
    "during-settle": "fast path: the statement is on its way, and commits or not",
    "after-settle": "fast path: PostgreSQL has committed, the queue does not know",
    "before-steps": "step path: the transaction of a single record is about to begin",
    "during-steps": "step path: that transaction is on its way, and commits or not",
    "after-store": "step path: the row is pending in an open transaction, not counted",
    "after-count": "step path: the row is delivered and counted in an open transaction, which is not committed",
    "after-steps": "step path: PostgreSQL has committed, the queue does not know",
    "before-publish": "dead letters are settled and in the outbox, nothing of them is published",
    "during-publish": "dead letters are sent, the broker's confirmation is not awaited",
    "after-publish": "the broker has confirmed the dead letters, the outbox still holds them",
    "during-remove": "the statement that takes them out of the outbox is on its way",
    "after-remove": "the outbox is empty, the queue does not know",
    "before-queue-settle": "the batch is done, its queue still holds it",
    "before-offset-commit": "the queue has settled, Kafka's offset is not committed",
    "after-offset-commit": "Kafka has confirmed the offset",
}
"""Each point and what is true there, in the order of a batch's life."""
_SENT_AFTER_S = {"publish": 0.02, "settle": 0.001, "steps": 0.001, "remove": 0.001}
T = TypeVar("T")


@dataclass(slots=True)
class FailPoint:
    """Counts how often one point is hit and ends the process at the last time."""

    point: str
    hits: int = 1

    def hit(self, point: str) -> None:
        if point == self.point:
            self.hits -= 1
            if self.hits == 0:
                os._exit(EXIT_CRASH_POINT)

    async def during(self, what: str, work: Coroutine[Any, Any, T]) -> T:
        """Await the work; where the point is its middle, hit it once the work was sent and its end is not known."""
        if self.point != f"during-{what}":
            return await work
        under_way = asyncio.ensure_future(work)
        await asyncio.sleep(_SENT_AFTER_S[what])
        self.hit(self.point)
        return await under_way

    def wrap(self, pipeline: Pipeline) -> Pipeline:
        """Return the same pipeline over ports that hit this point."""
        return replace(
            pipeline,
            store=_Store(self, pipeline.store),
            outbox=replace(
                pipeline.outbox,
                outbox=_Outbox(self, pipeline.outbox.outbox),
                dead_letters=_DeadLetters(self, pipeline.outbox.dead_letters),
            ),
            metrics=cast("Any", _Metrics(self, pipeline.metrics)),
        )

    def consumer_class(self) -> type[BatchConsumer]:
        """Return a consumer class that hits this point."""
        fail_point = self

        class Consumer(BatchConsumer):
            def _message(self, tp: Any, fetched: Any) -> Any:
                fail_point.hit("before-validate")
                return super()._message(tp, fetched)

            async def _commit_settled(self, timeout_s: float) -> bool:
                if self.assigned.uncommitted():
                    fail_point.hit("before-offset-commit")
                committed = await super()._commit_settled(timeout_s)
                if committed:
                    fail_point.hit("after-offset-commit")
                return committed

        return Consumer


def parse_fail_point(crash_at: str) -> FailPoint:
    """Read ``POINT`` or ``POINT:N``. Raises ValueError for an unknown point."""
    point, _, hits = crash_at.partition(":")
    if point not in CRASH_POINTS:
        raise ValueError(f"{point!r} is none of {', '.join(CRASH_POINTS)}")
    return FailPoint(point, int(hits or 1))


@dataclass(frozen=True, slots=True)
class _Store:
    fail_point: FailPoint
    inner: EventStore

    async def settle(self, settlement: Settlement) -> OutcomeCounts:
        self.fail_point.hit("before-settle")
        tally = await self.fail_point.during("settle", self.inner.settle(settlement))
        self.fail_point.hit("after-settle")
        return tally

    async def settle_by_steps(
        self, offset_range: BatchRange, event: ValidEvent, done: Callable[[Step], None] = lambda _step: None
    ) -> OutcomeCounts:
        def passing(step: Step) -> None:
            done(step)
            self.fail_point.hit("after-store" if step is Step.STORE else "after-count")

        self.fail_point.hit("before-steps")
        tally = await self.fail_point.during("steps", self.inner.settle_by_steps(offset_range, event, passing))
        self.fail_point.hit("after-steps")
        return tally

    async def healthy(self) -> bool:
        return await self.inner.healthy()


@dataclass(frozen=True, slots=True)
class _DeadLetters:
    fail_point: FailPoint
    inner: DeadLetterQueue

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        self.fail_point.hit("before-publish")
        publication = await self.fail_point.during("publish", self.inner.publish(records))
        self.fail_point.hit("after-publish")
        return publication


@dataclass(frozen=True, slots=True)
class _Outbox:
    fail_point: FailPoint
    inner: DeadLetterOutbox

    async def load(self, topic: str, partition: int) -> Sequence[KafkaRecord]:
        return await self.inner.load(topic, partition)

    async def remove(self, record_ids: Mapping[str, str | None]) -> None:
        await self.fail_point.during("remove", self.inner.remove(record_ids))
        self.fail_point.hit("after-remove")


class _Metrics:
    """Told in the middle of things, so it knows when they happen."""

    def __init__(self, fail_point: FailPoint, inner: Any) -> None:
        self._fail_point = fail_point
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def step_took(self, step: Step, duration_s: float) -> None:
        self._inner.step_took(step, duration_s)
        if step is Step.VALIDATE:
            self._fail_point.hit("after-validate")

    def batch_settled(self, topic: str, partition: int, counts: OutcomeCounts, oldest_timestamp_ms: int) -> None:
        self._inner.batch_settled(topic, partition, counts, oldest_timestamp_ms)
        self._fail_point.hit("before-queue-settle")


def main() -> None:
    """Be a worker that dies at the point in ``CRASH_AT``."""
    settings, fail_point = Settings(), parse_fail_point(os.environ["CRASH_AT"])
    logs.configure(settings)
    asyncio.run(run(settings, load_contracts(settings), fail_point.wrap, fail_point.consumer_class()))


if __name__ == "__main__":
    main()
