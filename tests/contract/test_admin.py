"""Kafka's answers about topics, from a real broker."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from keepstream.app.embedded.service import free_port
from keepstream.schemas import record
from keepstream.sinks.kafka.admin import (
    DEAD_LETTER_TOPIC_CONFIG,
    KafkaAdmin,
    TopicMissingError,
    oldest_unsettled_timestamp,
)
from tests.real import Kafka, eventually

pytestmark = pytest.mark.real


@pytest.fixture
def admin(kafka: Kafka) -> KafkaAdmin:
    return KafkaAdmin({"bootstrap.servers": kafka.bootstrap_servers, "allow.auto.create.topics": False})


def test_watermarks_end_at_an_open_transaction(kafka: Kafka, admin: KafkaAdmin) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, [b"1", b"2", b"3"], partition=1)
    assert admin.watermarks(topic) == {0: (0, 0), 1: (0, 3)}
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"4", partition=1)
    producer.flush()
    assert admin.watermarks(topic, [1]) == {1: (0, 3)}
    assert admin.ends([record.TopicPartition(topic, 1)], committed=False) == {(topic, 1): 4}
    producer.commit_transaction()
    assert admin.delete_records(topic, {1: 2}) == {1: 2}
    # The broker writes the transaction's marker after it has answered.
    eventually(lambda: admin.watermarks(topic, [1]) == {1: (2, 5)}, 10, "the last stable offset moves past the marker")


def test_a_topic_is_created_once_and_keeps_its_configuration(kafka: Kafka, admin: KafkaAdmin) -> None:
    topic = kafka.new_topic() + "-dlq"
    with pytest.raises(TopicMissingError, match="there is no topic"):
        admin.partitions(topic)
    assert admin.create_topic(topic, 3, 1, DEAD_LETTER_TOPIC_CONFIG)
    assert not admin.create_topic(topic, 5, 1, {})
    assert admin.partitions(topic) == [0, 1, 2]
    assert admin.leaderless(topic) == []
    assert DEAD_LETTER_TOPIC_CONFIG.items() <= admin.topic_config(topic).items()
    assert len(admin.topic_ids([topic, topic + "-other"])) == 1


def test_committed_offsets_and_the_oldest_unsettled_record(kafka: Kafka, admin: KafkaAdmin) -> None:
    topic = kafka.new_topic(2)
    kafka.produce(topic, [b"1", b"2"], partition=0)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic})
    consumer.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    consumer.close()
    assert admin.committed_offsets(topic, topic, [0, 1]) == {0: 1}
    assert oldest_unsettled_timestamp(admin.config, topic, topic, {0: 1}) == pytest.approx(time.time(), abs=60)
    assert oldest_unsettled_timestamp(admin.config, topic, topic, {}) is None


def test_a_cluster_that_does_not_answer_is_an_error() -> None:
    admin = KafkaAdmin({"bootstrap.servers": f"127.0.0.1:{free_port()}"}, timeout_s=1)
    for ask in (lambda: admin.partitions("t"), lambda: admin.watermarks("t", [0]), admin.brokers):
        with pytest.raises(KafkaException):
            ask()
    assert admin.topic_ids(["t"]) == {}
