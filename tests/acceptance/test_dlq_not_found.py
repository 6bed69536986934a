"""A replay of what does not exist is no success, and a key has the partition that Java clients give it."""

from __future__ import annotations

import json

import pytest

from keepstream.app.errors import NOT_FOUND
from tests.acceptance.dead_letters import SeededTopic

pytestmark = pytest.mark.real

MURMUR2 = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
"""The values of Kafka's own test, UtilsTest.testMurmur2."""


def test_a_replay_of_what_does_not_exist_ends_with_3(dlq: SeededTopic) -> None:
    dlq.add(1, state="settled")
    for selector in (["events-0-1"], ["nonesuch"], ["--reason", "typo"]):
        answer = dlq.run("dlq", "replay", "--dry-run", *selector)
        assert answer.exit_code == NOT_FOUND, selector
        assert "no dead letter that is open matches" in answer.errors
    assert dlq.run("dlq", "replay", "--yes").exit_code == 0


def test_a_key_goes_to_the_partition_that_java_clients_choose(dlq: SeededTopic) -> None:
    topic = dlq.kafka.new_topic(6, "events")
    lines = "".join(json.dumps({"key": key}) + "\n" for key in MURMUR2).encode()
    assert dlq.pipe(lines, "events", "produce", "-", "--topic", topic, "--key-field", "key").exit_code == 0
    chosen = {(record.key or b"").decode(): record.partition for record in dlq.kafka.read(topic)}
    assert chosen == {key: (number & 0x7FFFFFFF) % 6 for key, number in MURMUR2.items()}
