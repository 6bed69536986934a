"""One lane: what was delivered, what is settled, what may be committed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.partition_queue import RECORD_OVERHEAD_BYTES, Batch, PartitionQueue, PartitionRevokedError
from keepstream.schemas.outcome import BatchRange
from tests.builders import make_record


def make_lane(start: int = 0) -> PartitionQueue:
    return PartitionQueue("events", 0, start, 1, asyncio.Event())


def deliver(lane: PartitionQueue, *offsets: int) -> Batch:
    batch = lane.deliver([make_record(offset=offset) for offset in offsets])
    assert batch is not None
    return batch


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        st.tuples(st.just("settle"), st.just([])),
        st.tuples(st.just("read_to"), st.lists(st.integers(0, 3), min_size=1, max_size=1)),
    ),
    max_size=30,
)


@given(st.integers(0, 5), STEPS)
def test_the_watermark_never_passes_what_is_unsettled_and_leaves_nothing_settled_behind(
    start: int, steps: list[tuple[str, list[int]]]
) -> None:
    """The model: a list of (offset, settled), with holes between them, as a compacted topic has."""
    lane, model, end = make_lane(start), list[tuple[int, bool]](), start
    waiting: list[Batch] = []
    for step, numbers in steps:
        before = lane.settled_to
        if step == "deliver":
            offsets = [end := end + number for number in numbers]
            end += 1
            waiting.append(deliver(lane, *offsets))
            model += [(offset, False) for offset in offsets]
        elif step == "settle" and waiting:
            batch = waiting.pop(0)
            lane.settle(batch)
            done = {record.offset for record in batch.records}
            model = [(offset, settled or offset in done) for offset, settled in model]
        elif step == "read_to":
            end += numbers[0]
            lane.read_to(end)
        unsettled = [offset for offset, settled in model if not settled]
        settled_before = [o for o, settled in model if settled and o < min(unsettled, default=end + 1)]
        assert max(settled_before, default=start - 1) < lane.settled_to <= min(unsettled, default=end)
        assert lane.settled_to >= before
    assert lane.size_bytes == sum(batch.size_bytes for batch in waiting)


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=10))
def test_spans_join_without_gap_whatever_holes_the_offsets_have(chunks: list[list[int]]) -> None:
    lane, offset, spans = make_lane(3), 2, []
    for chunk in chunks:
        offsets = [offset := offset + step for step in chunk]
        spans.append(deliver(lane, *offsets).span)
    assert spans[0].expected_offset == 3
    assert [span.expected_offset for span in spans[1:]] == [span.next_offset for span in spans[:-1]]
    assert spans[-1] == BatchRange("events", 0, spans[-1].expected_offset, offset + 1, len(chunks[-1]))


def test_records_before_what_the_lane_expects_are_dropped() -> None:
    lane = make_lane(10)
    assert lane.deliver([make_record(offset=9)]) is None
    deliver(lane, 10, 11)
    assert lane.deliver([make_record(offset=10), make_record(offset=11)]) is None
    assert lane.next_expected == 12


def test_a_lane_is_settled_up_to_where_it_begins() -> None:
    lane = make_lane(7)
    deliver(lane, 7)
    assert lane.settled_to == 7


def test_markers_of_transactions_are_settled_once_nothing_waits() -> None:
    lane = make_lane(0)
    batch = deliver(lane, 0)
    lane.read_to(5)
    assert lane.settled_to == 0
    lane.settle(batch)
    lane.read_to(5)
    assert lane.settled_to == 5


def test_batches_settle_in_order_or_not_at_all() -> None:
    lane = make_lane()
    deliver(lane, 0)
    second = deliver(lane, 1)
    with pytest.raises(RuntimeError, match=r"settled .* before"):
        lane.settle(second)


def test_a_batch_weighs_its_values_its_headers_and_what_a_record_costs() -> None:
    lane = make_lane()
    headers = [("a", b"678"), ("b", None)]
    batch = lane.deliver([make_record(b"12345", 0), make_record(None, 1, headers=headers)])
    assert batch
    assert batch.size_bytes == lane.size_bytes == 8 + 2 * RECORD_OVERHEAD_BYTES
    lane.settle(batch)
    assert lane.size_bytes == 0
    assert lane.room.is_set()


def test_closing_abandons_the_batch_in_flight_and_its_late_settling_counts_nothing() -> None:
    lane = make_lane()
    batch = deliver(lane, 0)
    lane.close()
    with pytest.raises(PartitionRevokedError):
        batch.check_open()
    lane.settle(batch)
    assert lane.settled_to == 0


def test_finishing_lets_the_batch_in_flight_work_but_not_wait() -> None:
    batch = deliver(make_lane(), 0)
    batch.lane.finish()
    batch.check_open()
    with pytest.raises(PartitionRevokedError):
        batch.check_open(waiting=True)


@pytest.mark.parametrize("way", ["close", "finish"])
async def test_no_other_batch_begins_once_the_lane_ends(way: str) -> None:
    lane = make_lane()
    lane.enqueue(deliver(lane, 0))
    lane.enqueue(deliver(lane, 1))
    assert await lane.next_batch()
    getattr(lane, way)()
    assert await lane.next_batch() is None


async def test_whoever_waits_for_a_batch_is_woken_by_the_end() -> None:
    lane = make_lane()
    waiting = asyncio.create_task(lane.next_batch())
    await asyncio.sleep(0)
    lane.close()
    assert await waiting is None


def test_a_lane_knows_how_far_the_consumer_has_read() -> None:
    lane = make_lane()
    deliver(lane, 0)
    lane.read_to(5)
    assert lane.position == 5
