"""Rows, counters, ledger and offset are written together or not at all: whichever is refused, nothing of it stays."""

from __future__ import annotations

from typing import Any

import pytest

from keepstream.schemas.failure import StepError
from tests.builders import make_dead_letter, make_event, make_record
from tests.contract.store_fixtures import PostgresTable, settle, store_and_count

pytestmark = pytest.mark.real

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TRIGGER refuse BEFORE {change} FOR EACH ROW {when} EXECUTE FUNCTION refuse()"""
MOVES = "WHEN (NEW.next_offset <> OLD.next_offset)"
"""An offset that moves in a statement of its own is refused there, when all the rest is written."""


@pytest.mark.parametrize("path", [settle, store_and_count])
@pytest.mark.parametrize(
    ("change", "when"),
    [("UPDATE ON stream_offsets", MOVES), ("UPDATE ON event_counters", ""), ("INSERT ON dead_letters", "")],
)
async def test_what_is_refused_takes_everything_else_back(
    real_table: PostgresTable, path: Any, change: str, when: str
) -> None:
    real_table.database.execute(REFUSE.format(change=change, when=when))
    dead = [make_dead_letter(make_record(b"{", 1))]
    with pytest.raises(StepError):
        await path(real_table, 0, 2, make_event(0, event_id="a"), dead=dead)
    assert real_table.next_offset() == 0
    assert real_table.totals()["total"] == 0
    assert real_table.letters() == set()
    assert {row.status for row in real_table.rows().values()} <= {"pending"}
