"""A partition that stands still: when it is stuck, and when something else is to blame."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, Counter

from keepstream.app.worker.watchdog import StallDetector, stack_of_task, total_of
from keepstream.schemas.record import TopicPartition
from tests.fakes import MemoryStore

LIMIT = 20
PLACE = TopicPartition("events", 3)


@dataclass
class KnownEnds:
    ends: dict[TopicPartition, int] | None

    async def of(self, places: Collection[TopicPartition]) -> Mapping[TopicPartition, int] | None:
        return None if self.ends is None else {place: self.ends[place] for place in places}


@dataclass
class Patrol:
    """A watch over one partition that is at offset 5."""

    ends: KnownEnds = field(default_factory=lambda: KnownEnds({PLACE: 9}))
    store: MemoryStore = field(default_factory=MemoryStore)
    reasons: list[str] = field(default_factory=list)
    settled: int = 5
    failures: float = 0

    def __post_init__(self) -> None:
        self.watch = StallDetector(
            LIMIT, self.ends, self.store, cast("Any", None), cast("Any", None), self.reasons.append
        )

    async def beats(self, count: int, *, held: bool = False) -> bool:
        """Let so many seconds pass; True when the worker was ended."""
        for _ in range(count):
            await self.watch.beat({PLACE: self.settled}, [PLACE] if held else [], self.failures)
            if self.reasons:
                return True
        return False


async def test_records_to_settle_and_an_offset_that_stands_still_is_stuck() -> None:
    patrol = Patrol()
    assert not await patrol.beats(LIMIT - 1)
    assert await patrol.beats(LIMIT // 2 + 2)
    assert patrol.reasons[0].startswith("events-3 has stood at offset 5 of 9 for ")


async def test_an_idle_partition_is_not_stuck() -> None:
    patrol = Patrol(KnownEnds({PLACE: 5}))
    assert not await patrol.beats(5 * LIMIT)


async def test_records_that_have_only_just_come_are_not_held_against_it() -> None:
    patrol = Patrol(KnownEnds({PLACE: 5}))
    await patrol.beats(5 * LIMIT)
    patrol.ends.ends = {PLACE: 6}
    assert not await patrol.beats(LIMIT - 1)


async def test_progress_starts_the_time_anew() -> None:
    patrol = Patrol()
    for _ in range(5):
        assert not await patrol.beats(LIMIT - 1)
        patrol.settled += 1
        patrol.ends.ends = {PLACE: patrol.settled + 4}


@pytest.mark.parametrize("trouble", ["held", "kafka", "postgres", "retries"])
async def test_trouble_that_explains_it_is_waited_for(trouble: str) -> None:
    patrol = Patrol(KnownEnds(None)) if trouble == "kafka" else Patrol()
    patrol.store.is_healthy = trouble != "postgres"
    for _ in range(5 * LIMIT):
        patrol.failures += trouble == "retries"
        assert not await patrol.beats(1, held=trouble == "held")


async def test_after_the_trouble_the_time_begins_anew() -> None:
    patrol = Patrol()
    await patrol.beats(LIMIT - 2)
    await patrol.beats(1, held=True)
    assert not await patrol.beats(LIMIT - 1)
    assert await patrol.beats(LIMIT)


async def test_where_a_task_waits_is_told_innermost_first() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def outer() -> None:
        await inner()

    task = asyncio.create_task(outer(), name="lane events-3")
    await asyncio.sleep(0)
    told = stack_of_task("lane events-3")
    assert told.index("inner") < told.index("outer")
    assert stack_of_task("lane events-4") == "nowhere"
    task.cancel()


def test_the_sum_of_a_counter() -> None:
    counter = Counter("c", "c", ["a"], registry=CollectorRegistry())
    counter.labels("x").inc(2)
    counter.labels("y").inc(3)
    assert total_of(counter) == 5
