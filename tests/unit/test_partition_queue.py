"""One partition queue: what was fetched, what is settled, what may be committed."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.partition_queue import (
    HEADER_OVERHEAD_BYTES,
    ONE_BATCH,
    RECORD_OVERHEAD_BYTES,
    Batch,
    FetchedRecords,
    PartitionQueue,
    PartitionRevokedError,
    TransactionLimit,
)
from keepstream.schemas.outcome import BatchRange
from tests.builders import make_record


def make_queue(start: int = 0) -> PartitionQueue:
    return PartitionQueue("events", 0, start, 1, asyncio.Event())


def append(queue: PartitionQueue, *offsets: int) -> Batch:
    fetched = queue.expect([make_record(offset=offset) for offset in offsets])
    assert fetched is not None
    queue.append(fetched)
    return queue.unsettled[-1]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("expect"), st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        st.tuples(st.just("append"), st.just([])),
        st.tuples(st.just("settle"), st.just([])),
        st.tuples(st.just("advance"), st.lists(st.integers(0, 3), min_size=1, max_size=1)),
    ),
    max_size=30,
)


@given(st.integers(0, 5), STEPS)
def test_the_watermark_never_passes_what_is_unsettled_and_leaves_nothing_settled_behind(
    start: int, steps: list[tuple[str, list[int]]]
) -> None:
    """The model: a list of (offset, settled), with holes between them, as a compacted topic has.

    Appended is what has come through Faust; some of what was fetched may still be on its way.
    """
    queue, model, end = make_queue(start), list[tuple[int, bool]](), start
    waiting: list[Batch] = []
    coming: list[FetchedRecords] = []
    for step, numbers in steps:
        before = queue.settled_to
        if step == "expect":
            offsets = [end := end + number for number in numbers]
            end += 1
            fetched = queue.expect([make_record(offset=offset) for offset in offsets])
            assert fetched
            coming.append(fetched)
            model += [(offset, False) for offset in offsets]
        elif step == "append" and coming:
            queue.append(coming.pop(0))
            waiting.append(queue.unsettled[-1])
        elif step == "settle" and waiting:
            batch = waiting.pop(0)
            queue.settle(batch)
            done = {record.offset for record in batch.records}
            model = [(offset, settled or offset in done) for offset, settled in model]
        elif step == "advance":
            end += numbers[0]
            queue.advance(end)
        unsettled = [offset for offset, settled in model if not settled]
        settled_before = [o for o, settled in model if settled and o < min(unsettled, default=end + 1)]
        assert max(settled_before, default=start - 1) < queue.settled_to <= min(unsettled, default=end)
        assert queue.settled_to >= before
    assert queue.size_bytes == sum(batch.size_bytes for batch in waiting) + sum(f.size_bytes for f in coming)


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=10))
def test_spans_join_without_gap_whatever_holes_the_offsets_have(chunks: list[list[int]]) -> None:
    queue, offset, spans = make_queue(3), 2, []
    for chunk in chunks:
        offsets = [offset := offset + step for step in chunk]
        spans.append(append(queue, *offsets).offset_range)
    assert spans[0].expected_offset == 3
    assert [one.expected_offset for one in spans[1:]] == [one.next_offset for one in spans[:-1]]
    assert spans[-1] == BatchRange("events", 0, spans[-1].expected_offset, offset + 1, len(chunks[-1]))


def test_records_that_were_fetched_before_are_dropped() -> None:
    queue = make_queue(10)
    assert queue.expect([make_record(offset=9)]) is None
    append(queue, 10, 11)
    assert queue.expect([make_record(offset=10), make_record(offset=11)]) is None
    assert queue.fetched_to == queue.appended_to == 12


def test_records_that_were_lost_on_the_way_are_noticed() -> None:
    """T4, T9, T12: between fetch and queue the records are in Faust's hands."""
    queue = make_queue()
    queue.expect([make_record(offset=0)])
    second = queue.expect([make_record(offset=1)])
    assert second
    with pytest.raises(RuntimeError, match="from offset 0 to 1 were fetched and never reached the queue"):
        queue.append(second)
    assert not queue.unsettled


def test_nothing_is_settled_past_records_on_their_way() -> None:
    queue = make_queue()
    fetched = queue.expect([make_record(offset=0)])
    assert fetched
    queue.advance(5)
    assert queue.settled_to == 0
    queue.append(fetched)
    queue.settle(queue.unsettled[0])
    queue.advance(5)
    assert queue.settled_to == 5


def test_a_queue_is_settled_up_to_where_it_begins() -> None:
    queue = make_queue(7)
    append(queue, 7)
    assert queue.settled_to == 7


def test_markers_of_transactions_are_settled_once_nothing_waits() -> None:
    queue = make_queue(0)
    batch = append(queue, 0)
    queue.advance(5)
    assert queue.settled_to == 0
    queue.settle(batch)
    queue.advance(5)
    assert queue.settled_to == 5


def test_batches_settle_in_order_or_not_at_all() -> None:
    queue = make_queue()
    append(queue, 0)
    second = append(queue, 1)
    with pytest.raises(RuntimeError, match=r"settled .* before"):
        queue.settle(second)


def test_a_batch_weighs_keys_values_headers_and_overhead_from_the_fetch_on() -> None:
    queue = make_queue()
    headers = [("name", b"678"), ("b", None)]
    fetched = queue.expect([make_record(b"12345", 0, key=b"key"), make_record(None, 1, key=None, headers=headers)])
    assert fetched
    assert queue.size_bytes == 5 + 3 + 4 + 3 + 1 + 2 * RECORD_OVERHEAD_BYTES + 2 * HEADER_OVERHEAD_BYTES
    queue.append(fetched)
    assert queue.size_bytes == queue.unsettled[0].size_bytes
    queue.settle(queue.unsettled[0])
    assert queue.size_bytes == 0
    assert queue.capacity_freed.is_set()


def test_closing_abandons_the_batch_in_flight_and_its_late_settling_counts_nothing() -> None:
    queue = make_queue()
    batch = append(queue, 0)
    queue.close()
    with pytest.raises(PartitionRevokedError):
        batch.queue.check_open()
    queue.settle(batch)
    assert queue.settled_to == 0


def test_finishing_lets_the_batch_in_flight_work_but_not_wait() -> None:
    batch = append(make_queue(), 0)
    batch.queue.finish()
    batch.queue.check_open()
    with pytest.raises(PartitionRevokedError):
        batch.queue.check_open(waiting=True)


@pytest.mark.parametrize("way", ["close", "finish"])
async def test_no_other_batch_begins_once_the_queue_ends(way: str) -> None:
    queue = make_queue()
    append(queue, 0)
    append(queue, 1)
    assert await queue.next_batch()
    getattr(queue, way)()
    assert await queue.next_batch() is None


async def test_whoever_waits_for_a_batch_is_woken_by_the_end() -> None:
    queue = make_queue()
    waiting = asyncio.create_task(queue.next_batch())
    await asyncio.sleep(0)
    queue.close()
    assert await waiting is None


async def joined(limit: TransactionLimit, *chunks: list[int]) -> tuple[PartitionQueue, Batch]:
    queue = PartitionQueue("events", 0, 0, 1, asyncio.Event(), limit=limit)
    for chunk in chunks:
        append(queue, *chunk)
    batch = await queue.next_batch()
    assert batch is not None
    return queue, batch


async def test_batches_that_wait_are_joined_up_to_the_limit_of_records() -> None:
    queue, batch = await joined(TransactionLimit(5, 10**9), [0, 2], [3, 7, 8], [9])
    assert batch.offset_range == BatchRange("events", 0, 0, 9, 5)
    assert [record.offset for record in batch.records] == [0, 2, 3, 7, 8]
    assert batch.borders == [3]
    queue.settle(batch)
    assert queue.settled_to == 9
    assert queue.size_bytes == queue.unsettled[0].size_bytes
    following = await queue.next_batch()
    assert following is not None
    assert following.offset_range == BatchRange("events", 0, 9, 10, 1)


async def test_batches_that_wait_are_joined_up_to_the_limit_of_bytes() -> None:
    size_bytes = append(make_queue(), 0).size_bytes
    _, batch = await joined(TransactionLimit(100, 2 * size_bytes), [0], [1], [2])
    assert batch.offset_range == BatchRange("events", 0, 0, 2, 2)


@pytest.mark.parametrize("limit", [ONE_BATCH, TransactionLimit(1, 10**9), TransactionLimit(100, 1)])
async def test_a_batch_over_the_limit_is_settled_alone(limit: TransactionLimit) -> None:
    queue, batch = await joined(limit, [0, 1], [2])
    assert batch.offset_range == BatchRange("events", 0, 0, 2, 2)
    assert batch is queue.unsettled[0]
    assert not batch.borders
