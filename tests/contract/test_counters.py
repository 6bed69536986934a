"""A partition whose row in event_counters is missing: nothing is settled uncounted, and the next begin mends it."""

from __future__ import annotations

from typing import Any

import pytest

from keepstream.schemas.failure import FencedError
from keepstream.sinks.postgres.offsets import PostgresOffsets
from tests.builders import make_event
from tests.contract.store_fixtures import PostgresTable, settle, settle_by_steps

pytestmark = pytest.mark.real


@pytest.mark.parametrize("path", [settle, settle_by_steps])
async def test_without_counters_no_offset_moves_and_a_new_begin_makes_them(
    real_table: PostgresTable, path: Any
) -> None:
    real_table.database.execute("DELETE FROM event_counters")
    with pytest.raises(FencedError):
        await path(real_table, 0, 1, make_event(0, event_id="a"))
    assert real_table.next_offset() == 0
    assert "delivered" not in {row.status for row in real_table.rows().values()}
    stored = await PostgresOffsets(real_table.store.pool).load("events", [0])
    assert stored[0].next_offset == 0
    tally = await path(real_table, 0, 1, make_event(0, event_id="a"))
    assert (tally.delivered, real_table.totals()["total"], real_table.next_offset()) == (1, 1, 1)
