"""Reading a stretch of a topic, as it stands: joins no group and commits nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.record import KafkaRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from confluent_kafka import Message

SILENCE_LIMIT_S = 10.0
_WAIT_S = 0.1
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
    heard_at = time.monotonic()
    while consumer.position([place])[0].offset < end:
        # A batch is waited for until it is full: a short wait, or each end would cost the long one.
        messages = consumer.consume(_BATCH, timeout=_WAIT_S)
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
            if (message.offset() or 0) < end:
                yield record_of(message)
        heard_at = time.monotonic() if messages else heard_at
        if time.monotonic() - heard_at > SILENCE_LIMIT_S:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its only name


def record_of(message: Message) -> KafkaRecord:
    """Copy what librdkafka delivered into our own words."""
    return KafkaRecord(
        message.topic() or "", message.partition() or 0, message.offset() or 0, message.timestamp()[1],
        message.key(), message.value(), message.headers() or [],  # type: ignore[arg-type]
    )  # fmt: skip
