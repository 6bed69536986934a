"""How old the oldest unsettled record is: asked of the log itself, so that it is also known while no worker runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

from keepstream.app.connect.client_config import librdkafka_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keepstream.app.config.settings import KafkaSettings

PATIENCE_S = 3.0


def oldest_unsettled(kafka: KafkaSettings, positions: Mapping[int, int]) -> float | None:
    """Return the smallest Kafka timestamp, Unix seconds, of the records at these offsets; one per lagging partition.

    None when there is none, or when not every partition answered in time: the oldest might be theirs. Commits nothing.
    """
    if not positions:
        return None
    consumer = Consumer({
        **librdkafka_settings(kafka), "group.id": kafka.group_id, "enable.auto.commit": False, "log_level": 0,
        "isolation.level": "read_committed", "auto.offset.reset": "earliest", "queued.min.messages": 1,
        "max.partition.fetch.bytes": 1024,  # a broker gives one batch all the same
    })  # fmt: skip
    try:
        consumer.assign([TopicPartition(kafka.topic, partition, offset) for partition, offset in positions.items()])
        return _first_of_each(consumer, kafka.topic, set(positions))
    except KafkaException:
        return None
    finally:
        consumer.close()


def _first_of_each(consumer: Consumer, topic: str, waited_for: set[int]) -> float | None:
    oldest_ms: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while waited_for and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        partition = message.partition()
        if partition in waited_for:
            waited_for.discard(partition)
            oldest_ms.append(message.timestamp()[1])
            consumer.incremental_unassign([TopicPartition(topic, partition)])
    return min(oldest_ms) / 1000 if oldest_ms and not waited_for else None
