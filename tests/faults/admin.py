"""What an operator does to topics and groups, and what they look like from outside."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.real import Kafka, eventually

ANSWER_S = 30
WITHOUT_LEADER = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


def admin(kafka: Kafka) -> AdminClient:
    """Return a client. Keep it until its futures have ended: they never do once it is collected."""
    return AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})


def ends(kafka: Kafka, topic: str) -> dict[int, tuple[int, int]]:
    """Return each partition's first offset and its end. A partition that is new has no leader for a moment."""
    found: list[dict[int, tuple[int, int]]] = []

    def answered() -> bool:
        try:
            found.append(_ends(kafka, topic))
        except KafkaException as error:
            if error.args[0].code() not in WITHOUT_LEADER:
                raise
        return bool(found)

    eventually(answered, ANSWER_S, f"{topic}'s leaders answer")
    return found[0]


def _ends(kafka: Kafka, topic: str) -> dict[int, tuple[int, int]]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "ends", "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=ANSWER_S).topics[topic].partitions
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=ANSWER_S) for p in partitions}
    finally:
        consumer.close()


def delete_records(kafka: Kafka, topic: str, before: int, partition: int = 0) -> None:
    """Do what retention does: remove everything before an offset."""
    client, place = admin(kafka), TopicPartition(topic, partition, before)
    for done in client.delete_records([place]).values():
        done.result(ANSWER_S)


def delete_topic(kafka: Kafka, topic: str) -> None:
    client = admin(kafka)
    client.delete_topics([topic])[topic].result(ANSWER_S)
    eventually(lambda: topic not in client.list_topics(timeout=ANSWER_S).topics, ANSWER_S, f"{topic} is gone")


def add_partitions(kafka: Kafka, topic: str, total: int) -> None:
    client = admin(kafka)
    client.create_partitions([NewPartitions(topic, total)])[topic].result(ANSWER_S)


def delete_group(kafka: Kafka, group_id: str) -> None:
    """Remove a group without members, and all its committed offsets with it."""
    client = admin(kafka)
    client.delete_consumer_groups([group_id])[group_id].result(ANSWER_S)
