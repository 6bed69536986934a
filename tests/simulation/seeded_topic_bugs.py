"""Two topics in one worker, kept apart badly on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

import psycopg

import keepstream.app.worker.components
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.components import Components, TopicComponents
from keepstream.app.worker.start_offsets import OffsetRegressionMonitor, StartOffsetResolver
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.schemas.outcome import OutcomeCounts
from tests.simulation import simulation, topics, worker

patch = mock.patch.object


def store_of_the_other_topic() -> Any:
    """Batches of all topics go to the database of one."""

    async def by_the_last(topics: Mapping[str, TopicComponents], batch: Batch) -> OutcomeCounts:
        return await [*topics.values()][-1].pipeline.process(batch)

    return patch(keepstream.app.worker.components, "process_by_topic", by_the_last)


def outbox_of_the_other_topic() -> Any:
    """What the outboxes of all topics hold is looked for in that of one."""

    async def of_the_last(self: Components, queue: PartitionQueue) -> None:
        await [*self.topics.values()][-1].pipeline.outbox.recover(queue)

    return patch(Components, "recover", of_the_last)


def letters_in_the_other_topic() -> Any:
    """Dead letters of all topics are published to the dead letter topic of one."""
    parts = worker.Worker._parts

    def with_the_last(self: worker.Worker, topic: topics.Topic) -> TopicComponents:
        own, letters = parts(self, topic), [*self.world.topics.values()][-1].dead_letters
        outbox = replace(own.pipeline.outbox, dead_letters=letters)
        return replace(own, pipeline=replace(own.pipeline, outbox=outbox))

    return patch(worker.Worker, "_parts", with_the_last)


def ids_of_both_topics_in_one_table() -> Any:
    """The topics share their tables: the second event of an id is taken for the first."""
    add = simulation.World._add_topics

    def sharing(self: simulation.World, count: int) -> None:
        add(self, count)
        tables = [topic.memory for topic in self.topics.values()]
        for table in tables:
            table.rows = tables[0].rows

    return patch(simulation.World, "_add_topics", sharing)


def topics_start_one_after_the_other() -> Any:
    """Partitions start only once the databases of all topics answer."""
    decide = StartOffsetResolver._decide

    async def after_all(self: StartOffsetResolver, *given: Any) -> Any:
        for topic, offsets in self._offsets.items():
            await offsets.load(topic, [])
        return await decide(self, *given)

    return patch(StartOffsetResolver, "_decide", after_all)


def start_cancels_that_of_the_other_topic() -> Any:
    """A start cancels every start that is under way, and knows of its own topic only."""
    start = Assignment.start

    def cancelling(self: Assignment, tps: Iterable[tuple[str, int]]) -> None:
        for starting in self._starting.values():
            starting.cancel()
        start(self, tps)

    return patch(Assignment, "start", cancelling)


def regressions_are_looked_for_in_all_or_none() -> Any:
    """Stored offsets are compared only while the databases of all topics answer."""
    check = OffsetRegressionMonitor.check

    async def if_all_answer(self: OffsetRegressionMonitor, topic: str) -> None:
        try:
            await asyncio.gather(*(offsets.peek(name) for name, offsets in self.offsets.items()))
        except psycopg.Error:
            return
        await check(self, topic)

    return patch(OffsetRegressionMonitor, "check", if_all_answer)


TOPIC_BUGS = (
    store_of_the_other_topic,
    outbox_of_the_other_topic,
    letters_in_the_other_topic,
    ids_of_both_topics_in_one_table,
    topics_start_one_after_the_other,
    start_cancels_that_of_the_other_topic,
    regressions_are_looked_for_in_all_or_none,
)
