"""What PostgreSQL refuses: the record that it is about dies alone, and says of what; nothing else ends or waits."""

from __future__ import annotations

import pytest

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

BAD = b'"bad"'
TRIGGER = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE {change} ON events FOR EACH ROW WHEN (NEW.event_id = 'bad') EXECUTE FUNCTION meddle()"""


def value_of(number: int) -> bytes:
    return make_value(event_id="bad" if number == 7 else f"good-{number}")


@pytest.mark.parametrize(
    ("change", "body", "step", "reason"),
    [
        ("INSERT", "PERFORM 1 / (NEW.source_offset - NEW.source_offset);", "store", "division_by_zero"),
        ("INSERT", "RETURN NULL;", "store", "row_suppressed"),
        ("INSERT", "PERFORM pg_sleep(60);", "store", "query_canceled"),
        ("INSERT OR UPDATE", "IF NEW.status = 'delivered' THEN RAISE 'no'; END IF;", "metrics", "raise_exception"),
    ],
)
def test_the_record_dies_alone_with_the_step_and_the_reason(
    system: System, change: str, body: str, step: str, reason: str
) -> None:
    system.database.execute(TRIGGER.format(change=change, body=body))
    worker = system.start_worker(KEEPSTREAM_POSTGRES__STATEMENT_TIMEOUT_S="0.2")
    system.produce(map(value_of, range(10)))
    system.settled(10)
    (letter,) = system.dead().values()
    assert BAD in (letter.value or b"")
    assert (header(letter, "keepstream.dlq.step"), header(letter, "keepstream.dlq.reason")) == (step, reason)
    assert system.database.rows("SELECT count(*), min(status), max(status) FROM events") == [
        (9, "delivered", "delivered")
    ]
    system.assert_consistent()
    assert worker.process.exit_code is None


def test_a_dead_letter_whose_row_is_refused_pauses_its_partition_and_nothing_ends(system: System) -> None:
    system.database.execute('ALTER TABLE dead_letters ADD CONSTRAINT small CHECK ("offset" < 5)')
    worker = system.start_worker()
    system.produce([make_value(), b"broken", *[make_value() for _ in range(5)], b"broken", make_value()])
    eventually(lambda: "check violation" in worker.get("/readyz")[1], 30, "the partition says why it is paused")
    assert system.database.value("SELECT next_offset FROM stream_offsets WHERE next_offset > 0") == 7
    system.database.execute("ALTER TABLE dead_letters DROP CONSTRAINT small")
    system.settled(9)
    system.assert_consistent()
    assert system.database.totals()["failed"] == 2
    assert worker.process.exit_code is None
