"""All lanes of a worker: order, back-pressure, the end, and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from keepstream.processors.dispatcher import MIN_LANE_BYTES, Dispatcher
from keepstream.processors.partition_queue import RECORD_OVERHEAD_BYTES, Batch, PartitionQueue, PartitionRevokedError
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import TopicPartition
from tests.builders import make_record

P0, P1 = TopicPartition("events", 0), TopicPartition("events", 1)


@dataclass
class Crew:
    """Lanes with a process that waits at a gate, or raises."""

    lanes: Dispatcher = field(init=False)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[tuple[int, int]] = field(default_factory=list)
    fenced: list[TopicPartition] = field(default_factory=list)
    fatal: list[BaseException] = field(default_factory=list)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.lanes = Dispatcher(
            self.process, buffer_bytes=2 * MIN_LANE_BYTES, on_fenced=self.on_fenced, on_fatal=self.fatal.append
        )

    async def process(self, batch: Batch) -> OutcomeCounts:
        self.begun.append((batch.span.partition, batch.span.expected_offset))
        await self.gate.wait()
        if self.error:
            raise self.error
        return OutcomeCounts()

    async def on_fenced(self, place: TopicPartition) -> None:
        self.fenced.append(place)

    def lane(self, place: TopicPartition) -> PartitionQueue:
        lane = self.lanes._lanes.get(place)
        assert lane is not None
        return lane

    def feed(self, place: TopicPartition, *offsets: int, value: bytes = b"{}") -> None:
        for offset in offsets:
            batch = self.lane(place).deliver([make_record(value, offset, partition=place[1])])
            assert batch is not None
            self.lane(place).enqueue(batch)

    async def settled(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    crew = Crew()
    yield crew
    crew.lanes.close(crew.lanes.places)
    crew.gate.set()
    await crew.settled()


async def test_a_lane_works_one_batch_at_a_time_in_order(crew: Crew) -> None:
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0, 1, 2)
    await crew.settled()
    assert crew.begun == [(0, 0)]
    crew.gate.set()
    await crew.settled()
    assert crew.begun == [(0, 0), (0, 1), (0, 2)]
    assert crew.lanes.settled() == {P0: 3}


async def test_lanes_do_not_wait_for_each_other(crew: Crew) -> None:
    crew.lanes.open({P0: 0, P1: 5})
    crew.feed(P0, 0)
    crew.feed(P1, 5)
    await crew.settled()
    assert sorted(crew.begun) == [(0, 0), (1, 5)]


async def test_a_full_lane_holds_back_its_own_partition_only(crew: Crew) -> None:
    crew.lanes.open({P0: 0, P1: 0})
    crew.feed(P0, 0, value=b"x" * MIN_LANE_BYTES)
    assert crew.lanes.with_room() == [P1]
    crew.lanes.room.clear()
    crew.gate.set()
    await crew.settled()
    assert crew.lanes.room.is_set()
    assert crew.lanes.with_room() == [P0, P1]


async def test_many_lanes_share_the_buffer_but_none_gets_less_than_the_least(crew: Crew) -> None:
    places = {TopicPartition("events", partition): 0 for partition in range(10)}
    crew.lanes.open(places)
    crew.feed(P0, 0, value=b"x" * (MIN_LANE_BYTES - 1000))
    assert P0 in crew.lanes.with_room()


async def test_each_opening_has_an_epoch_of_its_own(crew: Crew) -> None:
    first = crew.lanes.open({P0: 0, P1: 0})
    second = crew.lanes.open({P0: 7})
    assert second > first
    assert crew.lanes.of_epoch(P0, first) is None
    assert crew.lanes.of_epoch(P1, second) is None
    lane = crew.lanes.of_epoch(P0, second)
    assert lane
    assert lane.next_expected == 7
    assert crew.lanes.of_epoch(TopicPartition("events", 9), second) is None


async def test_opening_again_abandons_what_was_there(crew: Crew) -> None:
    crew.lanes.open({P0: 0})
    old = crew.lane(P0)
    crew.feed(P0, 0, 1)
    await crew.settled()
    crew.lanes.open({P0: 0})
    crew.gate.set()
    await crew.settled()
    assert old.closed
    assert crew.begun == [(0, 0)]
    assert crew.lanes.settled() == {P0: 0}


async def test_a_closed_lane_is_neither_fetched_nor_committed(crew: Crew) -> None:
    crew.lanes.open({P0: 0, P1: 3})
    crew.lanes.close([P0, TopicPartition("events", 9)])
    assert P0 not in crew.lanes
    assert P1 in crew.lanes
    assert crew.lanes.places == crew.lanes.with_room() == [P1]
    assert crew.lanes.settled() == {P1: 3}


async def test_draining_finishes_what_is_in_flight_and_begins_nothing(crew: Crew) -> None:
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0, 1)
    await crew.settled()
    draining = asyncio.create_task(crew.lanes.drain(60))
    await crew.settled()
    assert not draining.done()
    assert crew.lanes.with_room() == []
    crew.gate.set()
    assert await draining
    assert crew.begun == [(0, 0)]
    assert crew.lanes.settled() == {P0: 1}


async def test_draining_that_takes_too_long_says_so(crew: Crew) -> None:
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0)
    await crew.settled()
    assert await crew.lanes.drain(0.01) is False


async def test_draining_idle_lanes_is_done_at_once(crew: Crew) -> None:
    crew.lanes.open({P0: 0})
    assert await crew.lanes.drain(0.05)


async def test_an_error_nobody_foresaw_is_fatal_and_its_batch_is_not_settled(crew: Crew) -> None:
    crew.error = ZeroDivisionError()
    crew.gate.set()
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0, 1)
    await crew.settled()
    assert crew.fatal == [crew.error]
    assert crew.begun == [(0, 0)]
    assert crew.lanes.settled() == {P0: 0}


async def test_a_fenced_batch_names_its_partition_and_stops_the_lane(crew: Crew) -> None:
    crew.error = FencedError("events", 0, 0)
    crew.gate.set()
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0, 1)
    await crew.settled()
    assert (crew.fenced, crew.fatal) == ([P0], [])
    assert crew.begun == [(0, 0)]


async def test_being_fenced_after_the_lane_was_closed_is_no_news(crew: Crew) -> None:
    crew.error = FencedError("events", 0, 0)
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0)
    await crew.settled()
    crew.lanes.close([P0])
    crew.gate.set()
    await crew.settled()
    assert (crew.fenced, crew.fatal) == ([], [])


async def test_an_abandoned_batch_ends_its_lane_quietly(crew: Crew) -> None:
    crew.error = PartitionRevokedError()
    crew.gate.set()
    crew.lanes.open({P0: 0})
    crew.feed(P0, 0)
    await crew.settled()
    assert (crew.fenced, crew.fatal, crew.lanes.settled()) == ([], [], {P0: 0})


async def test_draining_is_not_over_while_one_of_two_batches_works() -> None:
    gates = {0: asyncio.Event(), 1: asyncio.Event()}
    fatal: list[BaseException] = []

    async def process(batch: Batch) -> OutcomeCounts:
        await gates[batch.span.partition].wait()
        return OutcomeCounts()

    async def on_fenced(_place: TopicPartition) -> None:
        raise AssertionError

    lanes = Dispatcher(process, buffer_bytes=MIN_LANE_BYTES, on_fenced=on_fenced, on_fatal=fatal.append)
    lanes.open({P0: 0, P1: 0})
    for partition, place in enumerate((P0, P1)):
        lane = lanes.of_epoch(place, 1)
        batch = lane and lane.deliver([make_record(partition=partition)])
        assert lane
        assert batch
        lane.enqueue(batch)
    await asyncio.sleep(0.01)
    draining = asyncio.create_task(lanes.drain(5))
    gates[0].set()
    await asyncio.sleep(0.01)
    assert not draining.done()
    gates[1].set()
    assert await draining
    assert fatal == []
    lanes.close(lanes.places)


async def test_a_lane_that_holds_exactly_its_share_is_full(crew: Crew) -> None:
    crew.lanes.open({P0: 0})
    share = 2 * MIN_LANE_BYTES  # one lane may hold it all
    crew.feed(P0, 0, value=b"x" * (share - 1 - RECORD_OVERHEAD_BYTES))
    assert crew.lanes.with_room() == [P0]
    crew.lane(P0).size_bytes += 1
    assert crew.lanes.with_room() == []
