"""Rows, counters, ledger and offset are written together or not at all: whichever is refused, nothing of it stays."""

from __future__ import annotations

from typing import Any

import pytest

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import StepError
from tests.builders import make_dead_letter, make_event, make_record
from tests.contract.store_fixtures import PostgresTable, settle, settle_by_steps

pytestmark = pytest.mark.real

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TRIGGER refuse BEFORE {change} FOR EACH ROW {when} EXECUTE FUNCTION refuse()"""
MOVES = "WHEN (NEW.next_offset <> OLD.next_offset)"
"""An offset that moves in a statement of its own is refused there, when all the rest is written."""


DEAD = [make_dead_letter(make_record(b"{", 1))]
CHANGES = [("UPDATE ON stream_offsets", MOVES), ("UPDATE ON event_counters", "")]
LEDGER = ("INSERT ON dead_letters", "")


@pytest.mark.parametrize(
    ("path", "events", "dead", "change"),
    [
        *[(settle, [make_event(0, event_id="a")], DEAD, change) for change in (*CHANGES, LEDGER)],
        *[(settle, [], DEAD, change) for change in (*CHANGES, LEDGER)],
        *[(settle_by_steps, [make_event(0, event_id="a")], [], change) for change in CHANGES],
    ],
)
async def test_what_is_refused_takes_everything_else_back(
    real_table: PostgresTable, path: Any, events: list[ValidEvent], dead: list[DeadLetter], change: tuple[str, str]
) -> None:
    real_table.database.execute(REFUSE.format(change=change[0], when=change[1]))
    with pytest.raises(StepError):
        await path(real_table, 0, 2, *events, **{"dead": dead} if dead else {})
    assert real_table.next_offset() == 0
    assert real_table.totals()["total"] == 0
    assert real_table.letters() == set()
    assert real_table.rows() == {}
