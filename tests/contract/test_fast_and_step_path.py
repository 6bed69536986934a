"""Fast path and step path, in memory and in PostgreSQL: the same batches end as the same rows and counters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import make_dead_letter, make_event, make_record
from tests.contract.store_fixtures import MemoryTable, PostgresTable, Table, by_steps, settle

Fact = tuple[int, int] | None
"""Second and payload of an event, or None for a dead letter."""
FACTS = st.none() | st.tuples(st.integers(0, 3), st.integers(0, 2))
BATCHES = st.lists(st.dictionaries(st.sampled_from("abcde"), FACTS, min_size=1, max_size=5), min_size=1, max_size=5)

pytestmark = pytest.mark.real


async def run(table: Table, path: Any, batches: list[dict[str, Fact]]) -> tuple[Any, ...]:
    table.clear()
    await table.open(0, 0)
    tallies, offset = [], 0
    for batch in batches:
        places = dict(zip(batch, itertools.count(offset), strict=False))
        events = [
            make_event(places[i], event_id=i, timestamp=f"2026-11-24T10:00:0{fact[0]}Z", payload={"x": fact[1]})
            for i, fact in batch.items()
            if fact
        ]
        dead = [make_dead_letter(make_record(None, places[i]), event_id=i) for i, fact in batch.items() if not fact]
        tallies.append(await path(table, offset, offset + len(batch), *events, dead=dead))
        offset += len(batch)
    assert table.totals()["total"] == sum(tallies, OutcomeCounts()).total == table.next_offset() == offset
    return tallies, table.rows(), table.totals(), table.letters()


@given(BATCHES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_all_ways_end_alike(real_table: PostgresTable, batches: list[dict[str, Fact]]) -> None:
    expected = await run(MemoryTable(), settle, batches)
    assert await run(MemoryTable(), by_steps, batches) == expected
    assert await run(real_table, settle, batches) == expected
    assert await run(real_table, by_steps, batches) == expected
