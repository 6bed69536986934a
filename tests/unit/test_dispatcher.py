"""The queues of a worker: order, backpressure, the end, and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from keepstream.processors.dispatcher import MIN_QUEUE_BYTES, Dispatcher
from keepstream.processors.partition_queue import Batch, PartitionQueue, PartitionRevokedError, memory_size
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import TopicPartition
from tests.builders import make_failure, make_record

P0, P1 = TopicPartition("events", 0), TopicPartition("events", 1)


async def never_anything(_queue: PartitionQueue) -> None: ...


@dataclass
class Crew:
    """A dispatcher whose process waits at a gate, or raises."""

    dispatcher: Dispatcher = field(init=False)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[tuple[int, int]] = field(default_factory=list)
    fenced: list[TopicPartition] = field(default_factory=list)
    fatal: list[BaseException] = field(default_factory=list)
    error: BaseException | None = None
    recovered: list[int] = field(default_factory=list)
    recovery: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.recovery.set()
        self.dispatcher = Dispatcher(
            self.process,
            recover=self.recover,
            buffer_bytes=2 * MIN_QUEUE_BYTES,
            on_fenced=self.on_fenced,
            on_fatal=self.fatal.append,
        )

    async def recover(self, queue: PartitionQueue) -> None:
        self.recovered.append(queue.partition)
        await self.recovery.wait()

    async def process(self, batch: Batch) -> OutcomeCounts:
        self.begun.append((batch.offset_range.partition, batch.offset_range.expected_offset))
        await self.gate.wait()
        if self.error:
            raise self.error
        return OutcomeCounts()

    async def on_fenced(self, partition: TopicPartition) -> None:
        self.fenced.append(partition)

    def queue(self, partition: TopicPartition) -> PartitionQueue:
        return self.dispatcher._queues[partition]

    def feed(self, partition: TopicPartition, *offsets: int, value: bytes = b"{}") -> None:
        for offset in offsets:
            fetched = self.queue(partition).expect([make_record(value, offset, partition=partition[1])])
            assert fetched is not None
            self.dispatcher.append(fetched)

    async def settled(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    crew = Crew()
    yield crew
    crew.dispatcher.close(crew.dispatcher.partitions)
    crew.gate.set()
    await crew.settled()


async def test_a_queue_works_one_batch_at_a_time_in_order(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0, 1, 2)
    await crew.settled()
    assert crew.begun == [(0, 0)]
    crew.gate.set()
    await crew.settled()
    assert crew.begun == [(0, 0), (0, 1), (0, 2)]
    assert crew.dispatcher.settled() == {P0: 3}


async def test_queues_do_not_wait_for_each_other(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0, P1: 5})
    crew.feed(P0, 0)
    crew.feed(P1, 5)
    await crew.settled()
    assert sorted(crew.begun) == [(0, 0), (1, 5)]


async def test_a_full_queue_holds_back_its_own_partition_only(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0, P1: 0})
    crew.feed(P0, 0, value=b"x" * MIN_QUEUE_BYTES)
    assert crew.dispatcher.below_capacity() == [P1]
    crew.dispatcher.capacity_freed.clear()
    crew.gate.set()
    await crew.settled()
    assert crew.dispatcher.capacity_freed.is_set()
    assert crew.dispatcher.below_capacity() == [P0, P1]


async def test_many_queues_share_the_buffer_but_none_gets_less_than_the_least(crew: Crew) -> None:
    crew.dispatcher.open({TopicPartition("events", partition): 0 for partition in range(10)})
    crew.feed(P0, 0, value=b"x" * (MIN_QUEUE_BYTES - 1000))
    assert P0 in crew.dispatcher.below_capacity()


async def test_each_opening_has_an_epoch_of_its_own(crew: Crew) -> None:
    first = crew.dispatcher.open({P0: 0, P1: 0})
    second = crew.dispatcher.open({P0: 7})
    assert second > first
    assert crew.dispatcher.for_epoch(P0, first) is None
    assert crew.dispatcher.for_epoch(P1, second) is None
    queue = crew.dispatcher.for_epoch(P0, second)
    assert queue
    assert queue.fetched_to == 7
    assert crew.dispatcher.for_epoch(TopicPartition("events", 9), second) is None


async def test_opening_again_abandons_what_was_there(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    old = crew.queue(P0)
    crew.feed(P0, 0, 1)
    await crew.settled()
    crew.dispatcher.open({P0: 0})
    crew.gate.set()
    await crew.settled()
    assert old.closed
    assert crew.begun == [(0, 0)]
    assert crew.dispatcher.settled() == {P0: 0}


async def test_a_closed_queue_is_neither_fetched_nor_committed(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0, P1: 3})
    crew.dispatcher.close([P0, TopicPartition("events", 9)])
    assert P0 not in crew.dispatcher.partitions
    assert P1 in crew.dispatcher.partitions
    assert crew.dispatcher.partitions == crew.dispatcher.below_capacity() == [P1]
    assert crew.dispatcher.settled() == {P1: 3}


async def test_draining_finishes_what_is_in_flight_and_begins_nothing(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0, 1)
    await crew.settled()
    draining = asyncio.create_task(crew.dispatcher.drain(60))
    await crew.settled()
    assert not draining.done()
    assert crew.dispatcher.below_capacity() == []
    crew.gate.set()
    assert await draining
    assert crew.begun == [(0, 0)]
    assert crew.dispatcher.settled() == {P0: 1}


async def test_draining_that_takes_too_long_says_so(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0)
    await crew.settled()
    assert await crew.dispatcher.drain(0.01) is False


async def test_draining_idle_queues_is_done_at_once(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    assert await crew.dispatcher.drain(0.05)


async def test_an_error_nobody_foresaw_is_fatal_and_its_batch_is_not_settled(crew: Crew) -> None:
    crew.error = ZeroDivisionError()
    crew.gate.set()
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0, 1)
    await crew.settled()
    assert crew.fatal == [crew.error]
    assert crew.begun == [(0, 0)]
    assert crew.dispatcher.settled() == {P0: 0}


async def test_a_fenced_batch_names_its_partition_and_stops_the_queue(crew: Crew) -> None:
    crew.error = FencedError("events", 0, 0)
    crew.gate.set()
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0, 1)
    await crew.settled()
    assert (crew.fenced, crew.fatal) == ([P0], [])
    assert crew.begun == [(0, 0)]


async def test_being_fenced_after_the_queue_was_closed_is_no_news(crew: Crew) -> None:
    crew.error = FencedError("events", 0, 0)
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0)
    await crew.settled()
    crew.dispatcher.close([P0])
    crew.gate.set()
    await crew.settled()
    assert (crew.fenced, crew.fatal) == ([], [])


async def test_an_abandoned_batch_ends_its_queue_quietly(crew: Crew) -> None:
    crew.error = PartitionRevokedError()
    crew.gate.set()
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0)
    await crew.settled()
    assert (crew.fenced, crew.fatal, crew.dispatcher.settled()) == ([], [], {P0: 0})


async def test_draining_is_not_over_while_one_of_two_batches_works() -> None:
    gates = {0: asyncio.Event(), 1: asyncio.Event()}
    fatal: list[BaseException] = []

    async def process(batch: Batch) -> OutcomeCounts:
        await gates[batch.offset_range.partition].wait()
        return OutcomeCounts()

    async def on_fenced(_partition: TopicPartition) -> None:
        raise AssertionError

    dispatcher = Dispatcher(
        process, recover=never_anything, buffer_bytes=MIN_QUEUE_BYTES, on_fenced=on_fenced, on_fatal=fatal.append
    )
    dispatcher.open({P0: 0, P1: 0})
    for queue in dispatcher.queues:
        fetched = queue.expect([make_record(partition=queue.partition)])
        assert fetched
        dispatcher.append(fetched)
    await asyncio.sleep(0.01)
    draining = asyncio.create_task(dispatcher.drain(5))
    gates[0].set()
    await asyncio.sleep(0.01)
    assert not draining.done()
    gates[1].set()
    assert await draining
    assert fatal == []
    dispatcher.close(dispatcher.partitions)


async def test_a_queue_that_holds_exactly_its_share_is_full(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    share = 2 * MIN_QUEUE_BYTES  # one queue may hold it all
    crew.feed(P0, 0, value=b"x" * (share - 1 - memory_size([make_record(b"")])))
    assert crew.dispatcher.below_capacity() == [P0]
    crew.queue(P0).size_bytes += 1
    assert crew.dispatcher.below_capacity() == []


async def test_records_fetched_before_a_seek_never_enter_the_queue_that_follows_it(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    late = crew.queue(P0).expect([make_record(offset=0)])
    assert late
    crew.dispatcher.open({P0: 0})
    crew.dispatcher.append(late)
    assert not crew.queue(P0).unsettled
    assert crew.queue(P0).size_bytes == 0


async def test_records_that_faust_drops_end_the_worker(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0})
    crew.queue(P0).expect([make_record(offset=0)])
    second = crew.queue(P0).expect([make_record(offset=1)])
    assert second
    crew.dispatcher.append(second)
    (error,) = crew.fatal
    assert "never reached the queue" in str(error)


async def test_paused_partitions_are_those_whose_queue_says_so(crew: Crew) -> None:
    crew.dispatcher.open({P0: 0, P1: 0})
    failure = crew.queue(P1).paused = make_failure()
    assert crew.dispatcher.paused == {P1: failure}
    crew.dispatcher.close([P1])
    assert crew.dispatcher.paused == {}


async def test_what_was_left_of_a_partition_is_done_before_its_first_batch(crew: Crew) -> None:
    crew.recovery.clear()
    crew.gate.set()
    crew.dispatcher.open({P0: 0})
    crew.feed(P0, 0)
    await asyncio.sleep(0.01)
    assert (crew.recovered, crew.begun, crew.dispatcher.queues[0].recovered) == ([0], [], False)
    crew.recovery.set()
    await crew.settled()
    assert crew.begun == [(0, 0)]
