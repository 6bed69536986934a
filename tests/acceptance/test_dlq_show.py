"""`keepstream dlq show` as a process: one dead letter, and all that is known of it."""

from __future__ import annotations

import json

import pytest

from keepstream.schemas.failure import Step
from tests.acceptance.dead_letters import SeededTopic, without_postgres
from tests.builders import make_value

pytestmark = pytest.mark.real


def test_show_finds_a_dead_letter_by_id_by_coordinates_and_by_event(dlq: SeededTopic) -> None:
    value = make_value(payload={"amount": 7})
    for number in range(5):
        dlq.add(number, value=value, state="open" if number != 3 else None)
    for name in ("events-0-2", f"{dlq.topic}-0-2", "e-2", "events-0-3"):
        for environment in ({}, without_postgres()):
            answer = dlq.run("dlq", "show", name, "--json", **environment)
            assert answer.rows[0]["id"] == ("events-0-3" if name == "events-0-3" else "events-0-2"), name
            assert json.loads(answer.rows[0]["value"])["payload"] == {"amount": 7}


def test_show_prints_all_that_is_known(dlq: SeededTopic) -> None:
    value = b'{"event_id":"e-1","timestamp":"yesterday"}'
    dlq.add(1, value=value, step=Step.VALIDATE, reason="invalid_timestamp", message="timestamp: must be RFC 3339",
              attempts=2)  # fmt: skip
    dlq.database.execute(
        "INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition, source_offset) "
        "VALUES ('e-1', '{}', 'failed', now(), 'events', 0, 1)"
    )
    dlq.database.execute("INSERT INTO replays (dlq_topic, selection, started_by) VALUES (%s, '{}', 'me')", dlq.topic)
    dlq.database.execute(
        "INSERT INTO replay_letters (replay_id, letter_id, state, seen_in_pass, "
        "target_topic, target_partition, target_offset) VALUES (1, 'events-0-1', 'dead_again', 1, "
        "'events', 0, 99)"
    )  # fmt: skip
    (row,) = dlq.run("dlq", "show", "events-0-1", "--json").rows
    assert (row["path"], row["message"], row["attempts"]) == ("timestamp", "timestamp: must be RFC 3339", 2)
    assert row["failed_at"] == "2026-11-24T12:01:00.000Z"
    assert row["value"] == value.decode()
    assert {"name": "keepstream.dlq.reason", "value": "invalid_timestamp"} in row["headers"]
    assert (row["event"]["status"], row["replays"][0]["target_offset"]) == ("failed", 99)
    text = dlq.run("dlq", "show", "events-0-1").text
    for part in ("value there       yesterday", '  "event_id": "e-1"', "keepstream.dlq.attempts: 2", "dead_again"):
        assert part in text, part


@pytest.mark.parametrize("value", [b"\x00\xff\r\n{", b"", b'{"a": 1 }\n', None])
def test_raw_is_the_exact_bytes_and_nothing_else(dlq: SeededTopic, value: bytes | None) -> None:
    dlq.add(1, value=value)
    answer = dlq.run("dlq", "show", "events-0-1", "--raw")
    assert (answer.exit_code, answer.output) == (0, value or b"")
    assert dlq.run("dlq", "show", "events-0-1").exit_code == 0


@pytest.mark.parametrize("name", ["events-0-7", "e-7", "nothing", "x" * 3000])
def test_a_dead_letter_that_is_not_there_is_not_found(dlq: SeededTopic, name: str) -> None:
    dlq.add(1)
    answer = dlq.run("dlq", "show", name)
    assert (answer.exit_code, answer.output) == (3, b"")


def test_coordinates_beyond_the_topic_are_not_found(dlq: SeededTopic) -> None:
    assert [dlq.run("dlq", "show", f"{dlq.topic}-{place}").exit_code for place in ("0-0", "9-0")] == [3, 3]
