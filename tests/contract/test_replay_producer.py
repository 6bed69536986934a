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
