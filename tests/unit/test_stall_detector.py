"""A partition that settles nothing: when it has stalled, and when something else explains it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from confluent_kafka import KafkaException

from keepstream.app.testing.memory import MemoryStore
from keepstream.app.worker.watchdog import StallDetector, stack_of_task
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.schemas.record import TopicPartition
from tests.builders import make_failure

LIMIT = 20
P3, P4 = TopicPartition("events", 3), TopicPartition("events", 4)


@dataclass
class KnownEnds:
    end: int | None = 9

    def __call__(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        if self.end is None:
            raise KafkaException
        return dict.fromkeys(partitions, self.end)


@dataclass
class Queues:
    """What the detector asks of the dispatcher."""

    queues: list[PartitionQueue]


@dataclass
class Detection:
    """A detector over two partitions; the first is at offset 5, the other has settled everything."""

    ends: KnownEnds = field(default_factory=KnownEnds)
    store: MemoryStore = field(default_factory=MemoryStore)
    reasons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue, self.other = PartitionQueue(*P3, 5, 1, asyncio.Event()), PartitionQueue(*P4, 99, 1, asyncio.Event())
        queues = cast("Any", Queues([self.queue, self.other]))
        self.detector = StallDetector(LIMIT, self.ends, {"events": self.store}, queues, self.reasons.append)

    async def beats(self, count: int) -> bool:
        """Let so many seconds pass; True when the worker was ended."""
        for _ in range(count):
            await self.detector.beat()
            if self.reasons:
                return True
        return False


async def test_records_to_settle_and_an_offset_that_stands_still_is_a_stall() -> None:
    detection = Detection()
    assert not await detection.beats(LIMIT - 1)
    assert await detection.beats(LIMIT // 2 + 2)
    assert detection.reasons[0].startswith("events-3 has been at offset 5 of 9 for ")


async def test_an_idle_partition_has_not_stalled() -> None:
    detection = Detection(KnownEnds(5))
    assert not await detection.beats(5 * LIMIT)


async def test_records_that_have_only_just_come_start_the_time() -> None:
    detection = Detection(KnownEnds(5))
    await detection.beats(5 * LIMIT)
    detection.ends.end = 6
    assert not await detection.beats(LIMIT - 1)


async def test_progress_starts_the_time_anew() -> None:
    detection = Detection()
    for _ in range(5):
        assert not await detection.beats(LIMIT - 1)
        detection.queue.settled_to += 1
        detection.ends.end = detection.queue.settled_to + 4


async def test_a_partition_that_is_opened_again_starts_the_time_anew() -> None:
    detection = Detection()
    assert not await detection.beats(LIMIT - 1)
    detection.queue.close()
    detection.detector.dispatcher.queues[0] = PartitionQueue(*P3, 5, 2, asyncio.Event())
    assert not await detection.beats(LIMIT - 1)


@pytest.mark.parametrize("reason", ["paused", "kafka", "postgres", "retries"])
async def test_what_explains_it_is_waited_for(reason: str) -> None:
    detection = Detection(KnownEnds(None if reason == "kafka" else 9))
    detection.store.is_healthy = reason != "postgres"
    detection.queue.paused = make_failure() if reason == "paused" else None
    for _ in range(5 * LIMIT):
        detection.queue.failed_attempts += reason == "retries"
        assert not await detection.beats(1)


async def test_a_paused_partition_does_not_hide_the_stall_of_another() -> None:
    detection = Detection()
    detection.other.settled_to = 5
    detection.other.paused = make_failure()
    ended = False
    for _ in range(2 * LIMIT):
        detection.other.failed_attempts += 1
        ended = ended or await detection.beats(1)
    assert ended


async def test_after_a_pause_the_time_begins_anew() -> None:
    detection = Detection()
    await detection.beats(LIMIT - 2)
    detection.queue.paused = make_failure()
    await detection.beats(1)
    detection.queue.paused = None
    assert not await detection.beats(LIMIT - 1)
    assert await detection.beats(LIMIT)


async def test_the_stack_of_a_task_is_written_innermost_first() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer(), name="partition queue events-3")
    await asyncio.sleep(0)
    stack = stack_of_task("partition queue events-3")
    assert stack.index("inner") < stack.index("outer")
    assert stack_of_task("partition queue events-4") == "nowhere"
    task.cancel()
