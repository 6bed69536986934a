"""The worker dies at every named point, and the next one makes the sums come out exactly.

One topic holds everything that makes a difference: good events, repeats, broken ones, tombstones that are ignored, one
that only PostgreSQL refuses and one that only the steps can store, so that the fast path, the step path and the dead
letter topic are all passed through before the end.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keepstream.processors.mapping.tombstones import ignore_tombstone
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.crash_points import CRASH_POINTS, EXIT_CRASH_POINT
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

CHECKOUT = Path(__file__).resolve().parents[2]
RECORDS = 250
BROKEN = {i: b'{"event_id": "broken-%d"' % i for i in range(7, RECORDS, 50)}
REFUSED = {i: make_value(event_id=f"dear-{i}", payload={"amount": 1000}) for i in (120,)}
REPEATED = {i: make_value(event_id=f"good-{i - 1}") for i in (31, 131, 231)}
IGNORED: dict[int, bytes | None] = dict.fromkeys(range(3, RECORDS, 20))
OTHERS = BROKEN | REFUSED | REPEATED | IGNORED
GOOD = {i: make_value(event_id=f"good-{i}") for i in range(RECORDS) if i not in OTHERS}
TOPIC = [(OTHERS | GOOD)[i] for i in range(RECORDS)]
ONLY_BY_STEPS = """
CREATE FUNCTION shy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not at once'; END $$;
CREATE TRIGGER shy BEFORE INSERT ON events FOR EACH ROW
WHEN (NEW.event_id = 'good-60' AND NEW.status = 'delivered') EXECUTE FUNCTION shy()"""
"""The one statement of a batch inserts rows as delivered; the steps of a single record insert it as pending."""
SETTINGS = {"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": "walker", "KEEPSTREAM_MAPPING__TOMBSTONES": "ignore"}
"""The next worker takes over at once: without this it waits until the dead one's session has ended."""
LATER = (
    "during-settle:2",
    "during-settle:3",
    "after-settle:2",
    "after-publish:2",
    "before-settle:5",
    "after-settle:6",
    "during-remove:2",
)


@pytest.mark.parametrize("point", [*CRASH_POINTS, *LATER])
def test_whatever_the_crash_point_the_sums_are_exact(new_system: Callable[..., System], point: str) -> None:
    system = new_system(**SETTINGS)
    system.database.execute("ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::int < 100)")
    system.database.execute(ONLY_BY_STEPS)
    system.produce(TOPIC)
    first = system.start_worker("-m", "tests.crash_points", CRASH_AT=point, PYTHONPATH=str(CHECKOUT))
    eventually(lambda: first.process.exit_code is not None, 40, f"the worker hits {point}")
    assert first.process.exit_code == EXIT_CRASH_POINT, first.process.log_end()
    assert_nothing_is_ahead_of_its_offset(system)
    system.start_worker()
    system.settled(RECORDS)
    assert_exact(system)
    eventually(lambda: system.committed_lag() == 0, 20, "Kafka's own offset follows")


def assert_nothing_is_ahead_of_its_offset(system: System) -> None:
    """What is counted lies before the stored offset; every dead letter counted is in the topic or in the outbox."""
    offsets = system.database.rows("SELECT next_offset FROM stream_offsets")
    assert system.database.totals()["total"] == (offsets[0][0] if offsets else 0)
    counted, waiting = (
        {f"{topic}-0-{offset}" for topic, offset in system.database.rows(f'SELECT topic, "offset" FROM {table}')}
        for table in ("dead_letters", "dead_letter_outbox")
    )
    published = set(system.dead())
    assert published <= counted, "the topic holds what PostgreSQL has not decided"
    assert counted == published | waiting


def assert_exact(system: System) -> None:
    rows = system.database.rows("SELECT event_id, status FROM events")
    assert sorted(rows) == sorted((f"good-{i}", "delivered") for i in GOOD)
    totals = system.database.totals()
    assert totals == {
        "total": RECORDS, "delivered": len(GOOD), "failed": len(BROKEN | REFUSED), "duplicate": len(REPEATED),
        "stale": 0, "updated": 0, "ignored": len(IGNORED),
    }  # fmt: skip
    dead = system.dead()
    assert {letter_id: letter.value for letter_id, letter in dead.items()} == {
        f"{system.topic}-0-{i}": value for i, value in (BROKEN | REFUSED).items()
    }
    assert {header(letter, "keepstream.dlq.reason") for letter in dead.values()} == {"invalid_json", "check_violation"}
    assert system.database.rows("SELECT partition, next_offset FROM stream_offsets") == [(0, RECORDS)]
    system.assert_consistent(Validator(tombstone=ignore_tombstone))
