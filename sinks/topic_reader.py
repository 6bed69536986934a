"""Reading a stretch of a topic, as it stands: joins no group and commits nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.record import KafkaRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka import Message

POLL_S = 10.0
_BATCH = 1000


def read_between(
    client: Mapping[str, object], topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
) -> Iterator[KafkaRecord]:
    """Yield the records of each partition from its start up to, not including, its end.

    Raises KafkaException when the broker does not answer.
    """
    settings = {**client, "group.id": "keepstream-reader", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    try:
        for partition, end in ends.items():
            yield from _read(consumer, topic, partition, starts.get(partition, 0), end)
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, partition: int, start: int, end: int) -> Iterator[KafkaRecord]:
    """Stop by position, not by offset: a partition may end with markers that are no records."""
    if start >= end:
        return
    place = TopicPartition(topic, partition, start)
    consumer.assign([place])
    while True:
        messages = consumer.consume(_BATCH, timeout=POLL_S)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
            if (message.offset() or 0) < end:
                yield record_of(message)
        position = consumer.position([place])[0].offset
        if position >= end or not messages:
            return


def record_of(message: Message) -> KafkaRecord:
    """Copy what librdkafka delivered into our own words."""
    return KafkaRecord(
        message.topic() or "", message.partition() or 0, message.offset() or 0, message.timestamp()[1],
        message.key(), message.value(), message.headers() or [],  # type: ignore[arg-type]
    )  # fmt: skip
