"""What is named and does not exist is no success, and a key has the partition that Java clients give it."""

from __future__ import annotations

import json

import pytest

from keepstream.app.errors import NOT_FOUND
from tests.acceptance.dead_letters import Answer, SeededTopic

pytestmark = pytest.mark.real

MURMUR2 = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
"""The values of Kafka's own test, UtilsTest.testMurmur2."""


def test_a_replay_of_what_does_not_exist_ends_with_3(dlq: SeededTopic) -> None:
    dlq.add(1, state="settled")
    for selector in (["events-0-1"], ["--reason", "typo"]):
        answer = dlq.run("dlq", "replay", "--dry-run", *selector)
        assert answer.exit_code == NOT_FOUND, selector
        assert "no dead letter that is open matches" in answer.errors
    assert dlq.run("dlq", "replay", "--yes").exit_code == 0


def error_of(answer: Answer) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer.errors.splitlines()[-1])["error"]
    return found


def test_an_id_that_does_not_exist_is_named_and_nothing_is_sent(dlq: SeededTopic) -> None:
    dlq.add(1)
    dlq.add(2)
    target = dlq.kafka.new_topic()
    for command in (["replay", "--yes", "--to-topic", target], ["list"], ["stats"], ["export", "--output", "x.jsonl"]):
        answer = dlq.here("dlq", *command, "events-0-1", "typo", f"{dlq.topic}-0-1", "events-0-3")
        assert answer.exit_code == NOT_FOUND, (command, answer.errors)
        assert "not found: typo, events-0-3\n" in answer.errors
    assert dlq.kafka.read(target) == []
    assert dlq.database.value("SELECT count(*) FROM replays") == 0
    assert not [*dlq.folder.glob("*.jsonl")]


def test_what_is_found_is_listed_before_the_rest_is_named(dlq: SeededTopic) -> None:
    dlq.add(1)
    dlq.add(2, state="settled")
    answer = dlq.run("dlq", "list", "--json", "events-0-1", "events-0-2", "typo")
    assert [row["id"] for row in answer.rows] == ["events-0-1"]
    assert "events-0-2 is not listed: it is resolved, or another selector leaves it out\n" in answer.errors
    assert (error_of(answer)["code"], answer.exit_code) == ("unknown_letter", NOT_FOUND)
    assert dlq.ids("events-0-1", "events-0-2", "--include-resolved") == ["2", "1"]


def test_a_key_goes_to_the_partition_that_java_clients_choose(dlq: SeededTopic) -> None:
    topic = dlq.kafka.new_topic(6, "events")
    lines = "".join(json.dumps({"key": key}) + "\n" for key in MURMUR2).encode()
    assert dlq.pipe(lines, "events", "produce", "-", "--topic", topic, "--key-field", "key").exit_code == 0
    chosen = {(record.key or b"").decode(): record.partition for record in dlq.kafka.read(topic)}
    assert chosen == {key: (number & 0x7FFFFFFF) % 6 for key, number in MURMUR2.items()}
