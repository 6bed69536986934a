"""Reading the dead letter topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.record import KafkaRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_POLL_S = 10.0
_BATCH = 500


def read_all(client: Mapping[str, object], topic: str) -> Iterator[KafkaRecord]:
    """Yield every record the topic holds at the time of the call, partition by partition.

    Joins no group and commits nothing. Raises KafkaException when the broker does not answer.
    """
    settings = {**client, "group.id": "keepstream-reader", "enable.auto.commit": False, "enable.partition.eof": False}
    consumer = Consumer(settings)
    try:
        for partition in consumer.list_topics(topic, timeout=_POLL_S).topics[topic].partitions:
            yield from _read(consumer, topic, partition)
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, partition: int) -> Iterator[KafkaRecord]:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_POLL_S)
    if low >= high:
        return
    consumer.assign([TopicPartition(topic, partition, low)])
    while consumer.position([TopicPartition(topic, partition)])[0].offset < high:
        messages = consumer.consume(_BATCH, timeout=_POLL_S)
        if not messages:
            return
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
            yield KafkaRecord(
                topic, partition, message.offset() or 0, message.timestamp()[1], message.key(), message.value(),
                message.headers() or [],  # type: ignore[arg-type]
            )  # fmt: skip
