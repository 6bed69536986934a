"""Kafka's own committed offset: believed when another consumer committed it, never taken for more than it is."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.faults import admin
from tests.real import eventually

pytestmark = pytest.mark.real
_FORGET = "TRUNCATE events, event_counters, stream_offsets, dead_letters CASCADE"


def test_a_partition_begins_where_another_consumer_stood_and_there_again_when_postgres_forgot_it(
    system: System,
) -> None:
    system.produce(make_value() for _ in range(100))
    commit_as_another_consumer(system, 60)
    first = system.start_worker()
    system.settled(40)
    eventually(lambda: system.committed_lag() == 0, 30, "Kafka knows that all is settled")
    assert first.process.stop() == 0
    system.database.execute(_FORGET)
    second = system.start_worker()
    system.settled(40)
    system.assert_consistent()
    assert any("PostgreSQL has no offset of it" in line["event"] for line in second.log())


def commit_as_another_consumer(system: System, offset: int) -> None:
    """Commit as any consumer of the group does, without a word beside the offset."""
    consumer = Consumer({"bootstrap.servers": system.kafka.bootstrap_servers, "group.id": system.group_id})
    try:
        consumer.commit(offsets=[TopicPartition(system.topic, 0, offset)], asynchronous=False)
    finally:
        consumer.close()


def test_what_retention_deleted_behind_another_consumers_offset_is_a_gap(system: System) -> None:
    system.produce(make_value() for _ in range(100))
    commit_as_another_consumer(system, 60)
    admin.delete_records(system.kafka, system.topic, before=80)
    worker = system.start_worker()
    system.settled(20)
    assert worker.metric(f'keepstream_offset_gap_events_total{{topic="{system.topic}"}}') == 20
    assert any("retention deleted 20 records" in line["event"] for line in worker.log())
    assert system.database.rows("SELECT first_offset, next_offset, skipped FROM stream_offsets") == [(60, 100, 20)]
    system.assert_consistent()
