"""Rows, counters, ledger and offset are written together or not at all: whichever is refused, nothing of it stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from schemas.failure import StepError
from tests.builders import make_dead_letter, make_event, make_record
from tests.contract.stores import settle, store_and_count

if TYPE_CHECKING:
    from tests.contract.stores import PostgresTable

pytestmark = pytest.mark.real

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()"""


@pytest.mark.parametrize("path", [settle, store_and_count])
@pytest.mark.parametrize(
    ("table", "event"), [("stream_offsets", "UPDATE"), ("event_counters", "UPDATE"), ("dead_letters", "INSERT")]
)
async def test_what_is_refused_takes_everything_else_back(
    real_table: PostgresTable, path: Any, table: str, event: str
) -> None:
    real_table.database.execute(REFUSE.format(table=table, event=event))
    dead = [make_dead_letter(make_record(b"{", 1))]
    with pytest.raises(StepError):
        await path(real_table, 0, 2, make_event(0, event_id="a"), dead=dead)
    assert real_table.next_offset() == 0
    assert real_table.totals()["total"] == 0
    assert real_table.letters() == set()
    assert {row.status for row in real_table.rows().values()} <= {"pending"}
