"""What a replay sent is found again, whatever else is written to its topic."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from keepstream.schemas.replay import REPLAY_ID, REPLAY_OF, ReplayRecord
from keepstream.sinks.kafka.admin import KafkaAdmin
from keepstream.sinks.kafka.replay_producer import KafkaReplayProducer
from tests.real import Kafka

pytestmark = pytest.mark.real


def test_a_record_behind_an_open_transaction_is_found(kafka: Kafka) -> None:
    topic = kafka.new_topic()
    foreign = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    foreign.init_transactions(30)
    foreign.begin_transaction()
    foreign.produce(topic, b"open")
    foreign.flush()
    producer = KafkaReplayProducer(KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers}), "parked")
    since = producer.ends([topic])
    headers: list[tuple[str, bytes | None]] = [(REPLAY_ID, b"7"), (REPLAY_OF, b"events-0-1")]
    producer.produce([ReplayRecord("events-0-1", topic, None, b"k", b"{}", headers, 0)])
    (sent,) = producer.delivery_reports()
    assert producer.find(7, {"events-0-1"}, since) == [sent]
    foreign.abort_transaction()


def test_a_record_of_1970_or_without_a_timestamp_is_not_dated_anew(kafka: Kafka) -> None:
    """It would look newer than what is stored."""
    topic = kafka.new_topic()
    producer = KafkaReplayProducer(KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers}), "parked")
    producer.produce([ReplayRecord(f"e-{ms}", topic, None, b"k", b"{}", [], ms) for ms in (-1, 0, 1, 2)])
    assert [report.error for report in producer.delivery_reports()] == [None] * 4
    assert [record.timestamp for record in kafka.read(topic)] == [1, 1, 1, 2]
