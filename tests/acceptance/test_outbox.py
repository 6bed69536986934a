"""The outbox: what is decided is published by whoever owns the partition next, and never decided again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import DEAD_LETTER_TOPIC_CONFIG
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.crash_points import EXIT_CRASH_POINT
from tests.real import eventually

CHECKOUT = Path(__file__).resolve().parents[2]
DAY_MS = 86_400_000
STATIC = {"KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID": "walker"}


@pytest.mark.parametrize("point", ["after-settle", "before-publish", "after-publish"])
def test_a_record_that_was_decided_dead_stays_dead_whatever_the_next_worker_would_decide(
    new_system: Callable[..., System], point: str
) -> None:
    system = new_system(**STATIC)
    system.database.execute("ALTER TABLE events ADD CONSTRAINT affordable CHECK ((payload ->> 'amount')::int < 100)")
    system.produce([make_value(event_id="dear", payload={"amount": 1000})])
    first = system.start_worker("-m", "tests.crash_points", CRASH_AT=point, PYTHONPATH=str(CHECKOUT))
    eventually(lambda: first.process.exit_code is not None, 40, f"the worker hits {point}")
    assert first.process.exit_code == EXIT_CRASH_POINT, first.process.log_end()
    system.database.execute("ALTER TABLE events DROP CONSTRAINT affordable")
    system.start_worker()
    system.settled(1)
    assert system.database.rows("SELECT event_id FROM events") == []
    copies = system.kafka.read(system.dlq_topic)
    assert {DeadLetterRecord(copy).reason for copy in copies} == {"check_violation"}
    assert len({tuple(copy.headers) for copy in copies}) == 1, "a copy has the same headers"
    system.assert_consistent()


def test_a_worker_publishes_what_the_one_before_has_decided_and_could_not_publish(system: System) -> None:
    topic, system.dlq_topic = system.dlq_topic, system.dlq_topic + "-later"
    first = system.start_worker()
    system.produce([make_value(), b"broken", make_value()])
    waiting = "SELECT count(*) FROM dead_letter_outbox"
    eventually(lambda: system.database.value(waiting) == 1, 40, "the dead letter waits in the outbox")
    eventually(lambda: first.get("/readyz")[0] == 503, 20, "the partition is paused")
    system.produce([make_value()])
    assert system.database.rows("SELECT count(*), max(place) FROM dead_letters") == [(1, None)]
    assert [row["holds"] for row in map(json.loads, system.cli("audit", "--json").stdout.splitlines())].count(
        False
    ) == 0
    first.process.kill()
    system.kafka.create_topic(system.dlq_topic, config=DEAD_LETTER_TOPIC_CONFIG)
    assert system.cli("audit", "--deep", "--json").returncode == 0, "what waits is not lost"
    assert system.cli("dlq", "list", "--json").stdout == ""
    assert system.cli("dlq", "list", "--reason", "invalid_json", "--json").stdout == ""
    system.start_worker()
    system.settled(4)
    (letter,) = system.dead().values()
    assert letter.value == b"broken"
    assert system.database.value("SELECT place FROM dead_letters") == DeadLetterRecord(letter).record_id
    assert system.database.value(waiting) == 0
    system.assert_consistent()
    assert topic != system.dlq_topic


@pytest.mark.parametrize("days", [-8, 2])
def test_a_dead_letter_of_another_day_is_kept_and_its_replay_has_the_old_timestamp(system: System, days: int) -> None:
    """Kafka refuses a timestamp far ahead, and retention deletes one far back."""
    then = int(time.time() * 1000) + days * DAY_MS
    forever = {"message.timestamp.after.max.ms": str(30 * DAY_MS), "retention.ms": "-1"}
    system.topic = system.kafka.new_topic(config=forever)
    system.produce([b"broken", make_value()], timestamp=then)
    system.start_worker()
    system.settled(2)
    (letter,) = system.dead().values()
    assert abs(letter.timestamp - time.time() * 1000) < 120_000
    assert DeadLetterRecord(letter).original_timestamp == then
    system.cli("dlq", "replay", "--yes")
    system.settled(3)
    assert [record.timestamp for record in newest(system)] == [then]


def newest(system: System) -> list[KafkaRecord]:
    return [record for record in system.kafka.read(system.topic) if record.offset == 2]
