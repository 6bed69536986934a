"""How much one fetch takes off aiokafka's buffers, whatever the records weigh."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from keepstream.app.worker.consumer import MAX_POLL_RECORDS
from keepstream.app.worker.consumer_thread import (
    FETCH_BYTES,
    TAKE_RECORDS,
    UNKNOWN_RECORD_BYTES,
    ConsumerThread,
)
from keepstream.processors.partition_queue import memory_size
from tests.builders import make_record

PARTITIONS = {TopicPartition("events", number) for number in range(2)}


@dataclass
class Buffers:
    """aiokafka's fetcher with records at hand, taken from one partition after the other."""

    records: dict[TopicPartition, list[Any]]
    calls: list[tuple[float, int]] = field(default_factory=list)

    async def fetched_records(
        self,
        places: Any,
        timeout: float,  # noqa: ASYNC109 - aiokafka's signature
        max_records: int,
    ) -> dict[Any, list[Any]]:
        self.calls.append((timeout, max_records))
        found = {}
        for tp in sorted(places):
            taken = self.records.get(tp, [])[:max_records]
            del self.records.get(tp, [])[:max_records]
            max_records -= len(taken)
            if taken:
                found[tp] = taken
        return found


@dataclass
class Taking:
    buffers: Buffers
    moving: bool = False

    def __post_init__(self) -> None:
        self.thread = ConsumerThread.__new__(ConsumerThread)
        self.thread._record_bytes = UNKNOWN_RECORD_BYTES

    async def take(self) -> dict[TopicPartition, list[Any]]:
        subscription = SimpleNamespace(reassignment_in_progress=self.moving)
        consumer: Any = SimpleNamespace(_fetcher=self.buffers, _subscription=subscription)
        return await self.thread._take(consumer, PARTITIONS, 0.2)


def backlog(count: int, size: int, **changes: Any) -> Buffers:
    value = b"x" * size
    return Buffers({tp: [make_record(value, i, partition=tp.partition, **changes) for i in range(count)]
                    for tp in PARTITIONS})  # fmt: skip


def offsets(taken: list[dict[TopicPartition, list[Any]]]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for fetch in taken:
        for tp, records in fetch.items():
            found.setdefault(tp.partition, []).extend(record.offset for record in records)
    return found


async def test_small_records_fill_a_fetch_in_portions() -> None:
    taking = Taking(backlog(3000, 10))
    taken = await taking.take()
    assert sum(map(len, taken.values())) == MAX_POLL_RECORDS
    assert {timeout for timeout, _ in taking.buffers.calls[1:]} == {0}


@pytest.mark.parametrize("changes", [{"size": 10**6}, {"size": 1, "headers": [("h", b"x" * 10**6)]}], ids=str)
async def test_large_ones_are_taken_by_their_bytes(changes: Any) -> None:
    taking = Taking(backlog(100, **changes))
    first, second = await taking.take(), await taking.take()
    for taken in (first, second):
        assert sum(memory_size(records) for records in taken.values()) < FETCH_BYTES + 1.1e6


async def test_small_ones_that_turn_large_cost_one_portion() -> None:
    taking = Taking(backlog(1000, 10))
    for records in taking.buffers.records.values():
        records[500:] = [make_record(b"x" * 10**6, i) for i in range(500, 600)]
    for _ in range(4):
        taken = await taking.take()
        assert sum(memory_size(records) for records in taken.values()) < FETCH_BYTES + (TAKE_RECORDS + 1) * 1.1e6


async def test_what_is_there_is_taken_once_in_order_and_to_the_end() -> None:
    taking = Taking(backlog(130, 100_000))
    taken = [await taking.take() for _ in range(20)]
    assert offsets(taken) == {0: [*range(130)], 1: [*range(130)]}


async def test_during_a_rebalance_one_portion_is_all() -> None:
    taking = Taking(backlog(500, 10), moving=True)
    await taking.take()  # what records weigh is not known yet
    assert sum(map(len, (await taking.take()).values())) == TAKE_RECORDS


async def test_nothing_there_is_asked_for_once_and_waited_for() -> None:
    taking = Taking(backlog(0, 1))
    assert await taking.take() == {}
    assert [timeout for timeout, _ in taking.buffers.calls] == [0.2]
