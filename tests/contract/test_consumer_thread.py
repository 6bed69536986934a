"""What the consumer thread takes of aiokafka's buffers, from a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiokafka
import pytest
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.worker.consumer import new_consumer
from keepstream.app.worker.consumer_thread import TAKE_RECORDS, ConsumerThread
from tests.real import Kafka


@asynccontextmanager
async def consumer_at(kafka: Kafka, offsets: dict[TopicPartition, int]) -> AsyncIterator[aiokafka.AIOKafkaConsumer]:
    consumer = new_consumer(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers))
    consumer._group_id = None  # no group: the partitions are assigned by hand
    await consumer.start()
    try:
        consumer.assign([*offsets])
        for partition, offset in offsets.items():
            consumer.seek(partition, offset)
        yield consumer
    finally:
        await consumer.stop()


@pytest.mark.parametrize("number", [0, 1])
async def test_records_taken_before_the_error_of_another_partition_are_not_lost(kafka: Kafka, number: int) -> None:
    """The records fill a portion, so the next portion meets the error."""
    topic = kafka.new_topic(partitions=2)
    kafka.produce(topic, [b"%d" % value for value in range(TAKE_RECORDS)], partition=number)
    good, lost = TopicPartition(topic, number), TopicPartition(topic, 1 - number)
    thread = ConsumerThread.__new__(ConsumerThread)
    thread._record_bytes = 1
    taken: list[int] = []
    errors: list[TopicPartition] = []
    async with consumer_at(kafka, {good: 0, lost: 1000}) as consumer:
        while not errors or await consumer.position(good) < TAKE_RECORDS:
            try:
                found = await thread._take(consumer, {good, lost}, timeout_s=1.0)
            except OffsetOutOfRangeError as error:
                errors += error.args[0]
            else:
                taken += [record.offset for record in found.get(good, [])]
                if thread._late_error:  # however much there is of other partitions
                    with pytest.raises(OffsetOutOfRangeError):
                        await thread._take(consumer, {good}, timeout_s=0)
                    errors.append(lost)
    assert taken == [*range(TAKE_RECORDS)]
    assert {*errors} == {lost}
