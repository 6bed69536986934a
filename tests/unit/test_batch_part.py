"""Repeats of an event inside one batch end, deduplicated, as they would have ended one by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.testing.memory import MemoryStore, Row
from keepstream.processors.batch_part import deduplicate
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement
from tests.builders import make_event, make_record, make_value

SECONDS = st.sampled_from(["01Z", "02Z", "02.0000004Z", "02.0000006Z", "03Z"])
FACTS = st.tuples(st.sampled_from("abc"), SECONDS, st.integers(0, 1))
BATCHES = st.lists(FACTS, max_size=8)


def events_of(facts: Sequence[tuple[str, str, int]], start: int = 0) -> list[ValidEvent]:
    return [
        make_event(offset, event_id=event_id, timestamp=f"2026-11-24T10:00:{second}", payload={"x": x})
        for offset, (event_id, second, x) in enumerate(facts, start)
    ]


async def settle(store: MemoryStore, events: Sequence[ValidEvent], repeats: OutcomeCounts | None = None) -> None:
    begin = store.next_offsets.get(("events", 0), 0)
    end = max([begin, *[event.record.offset + 1 for event in events]])
    await store.settle(
        Settlement(BatchRange("events", 0, begin, end, end - begin), events, (), repeats or OutcomeCounts())
    )


async def one_by_one(store: MemoryStore, events: Sequence[ValidEvent]) -> None:
    for event in events:
        await settle(store, [event])


def payload(row: Row) -> Any:
    return json.loads(row.document)["payload"]


def rows(store: MemoryStore) -> dict[str, Any]:
    return {event_id: (row.status, row.version[0], payload(row)) for event_id, row in store.rows.items()}


@given(BATCHES)
def test_a_deduplicated_batch_counts_and_writes_like_its_events_one_by_one(facts: list[tuple[str, str, int]]) -> None:
    batched, single = (MemoryStore({("events", 0): 0}) for _ in range(2))
    events = events_of(facts)
    asyncio.run(settle(batched, *deduplicate(events)))
    asyncio.run(one_by_one(single, events))
    assert rows(batched) == rows(single)
    for outcome in ("delivered", "duplicate", "stale", "total"):
        assert getattr(batched.totals, outcome) == getattr(single.totals, outcome)


@given(BATCHES, BATCHES)
def test_over_rows_that_exist_the_rows_and_the_sums_are_the_same(
    before: list[tuple[str, str, int]], facts: list[tuple[str, str, int]]
) -> None:
    batched, single = (MemoryStore({("events", 0): 0}) for _ in range(2))
    known, events = events_of(before), events_of(facts, start=len(before))
    for store in (batched, single):
        asyncio.run(one_by_one(store, known))
    asyncio.run(settle(batched, *deduplicate(events)))
    asyncio.run(one_by_one(single, events))
    assert rows(batched) == rows(single)
    assert (batched.totals.delivered, batched.totals.total) == (single.totals.delivered, single.totals.total)


def test_a_batch_without_repeats_is_passed_on_untouched() -> None:
    events = events_of([("b", "01Z", 0), ("a", "02Z", 0)])
    assert deduplicate(events) == (events, OutcomeCounts())
    assert deduplicate([]) == ([], OutcomeCounts())


def test_what_is_finer_than_postgresqls_microsecond_is_no_difference() -> None:
    events = events_of([("a", "02.0000004Z", 0), ("a", "02.0000001Z", 1)])
    kept, tally = deduplicate(events)
    assert (kept, tally) == ([events[1]], OutcomeCounts(duplicate=1))


def test_what_postgresql_rounds_up_is_newer() -> None:
    events = events_of([("a", "02.0000006Z", 0), ("a", "02Z", 1)])
    kept, tally = deduplicate(events)
    assert (kept, tally) == ([events[0]], OutcomeCounts(stale=1))


def test_the_first_of_two_that_are_the_same_byte_for_byte_is_kept() -> None:
    value = make_value(event_id="a", timestamp=...)
    records = [make_record(value, offset, timestamp=1_000 * offset) for offset in range(3)]
    events = [event for event in map(validate, records) if isinstance(event, ValidEvent)]
    assert deduplicate(events) == ([events[0]], OutcomeCounts(duplicate=2))


def test_without_a_timestamp_other_headers_make_another_event() -> None:
    value = make_value(event_id="a", timestamp=...)
    records = [make_record(value, n, timestamp=n, headers=[("ce_x", b"%d" % n)]) for n in range(2)]
    events = [event for event in map(validate, records) if isinstance(event, ValidEvent)]
    assert deduplicate(events) == ([events[1]], OutcomeCounts(duplicate=1))
