"""Looking at embedded servers from outside."""

from __future__ import annotations

import psycopg
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from keepstream.app.embedded import process as proctree
from keepstream.app.embedded.kafka import EmbeddedKafka


def make_topic(broker: EmbeddedKafka, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(timeout=20)


def produce_one(broker: EmbeddedKafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.type": "zstd"})
    producer.produce(topic, value)
    assert producer.flush(20) == 0


def consume_one(broker: EmbeddedKafka, topic: str) -> bytes | None:
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": f"reads-{topic}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    try:
        message = next((m for m in (consumer.poll(1.0) for _ in range(30)) if m and not m.error()), None)
        return message.value() if message else None
    finally:
        consumer.close()


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def family(pid: int | None) -> list[int]:
    assert pid is not None
    return [pid, *proctree.descendants(pid)]
