"""Reads ranges of offsets of one topic. Joins no group and commits nothing."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import KafkaAdmin, Range

ANSWER_TIMEOUT_S = 10.0
_BATCH = 500
_MS = {
    # A seek waits for the fetch in progress, which must not wait at the end of a partition or for a full queue.
    "fetch.wait.max.ms": 3,
    "fetch.queue.backoff.ms": 5,
}


class RangeReader:
    """Reads ranges of offsets of several partitions at once. Raises KafkaException when no broker answers."""

    def __init__(self, client: KafkaAdmin, topic: str, **settings: object) -> None:
        self._client, self._topic, self._settings = client, topic, settings

    @cached_property
    def _consumer(self) -> Consumer:
        """The consumer, created at the first read: many readers find nothing to read."""
        return Consumer({
            **self._client.config, "group.id": "keepstream-reader", "enable.auto.commit": False,
            "enable.partition.eof": True,
            # Records that retention deletes meanwhile are skipped.
            "auto.offset.reset": "earliest", **_MS, "queued.max.messages.kbytes": 16 * 1024,
            "queued.min.messages": 10_000, **self._settings,
        })  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_consumer" in self.__dict__:
            self._consumer.close()

    def watermarks(self, partitions: Iterable[int] | None = None) -> dict[int, Range]:
        """Return the current (first offset, offset after the last) of each partition."""
        return self._client.watermarks(self._topic, partitions)

    def read(self, ranges: Mapping[int, Range]) -> Generator[KafkaRecord]:
        """Yield the records of each range ``[start, end)``, in order within a partition.

        Offsets without a record (compacted, transaction markers, aborted) are passed over.
        """
        todo = {p: end for p, (start, end) in ranges.items() if start < end}
        if not todo:
            return
        self._consumer.assign([TopicPartition(self._topic, p, ranges[p][0]) for p in todo])
        for messages in self._messages(_BATCH):
            for message in messages:
                partition = message.partition() or 0
                end = todo.get(partition)
                if end is None:
                    continue
                record = None if is_end_of_partition(message) else record_of(message)
                if record and record.offset < end:
                    yield record
                if record is None or record.offset + 1 >= end:
                    self._leave(todo, partition)
            if not todo:
                return

    def dead_letter(self, record: KafkaRecord) -> DeadLetterRecord:
        """Return a record of a dead letter topic with its headers parsed, by the names that the client has."""
        return DeadLetterRecord(record, self._client.header_names)

    def follow(self, starts: Mapping[int, int]) -> Iterator[KafkaRecord]:
        """Yield records from these offsets on, and then as they arrive, for ever."""
        self._consumer.assign([TopicPartition(self._topic, p, start) for p, start in starts.items()])
        while True:
            for message in self._poll(_BATCH):
                if not is_end_of_partition(message):
                    yield record_of(message)

    def _leave(self, todo: dict[int, int], partition: int) -> None:
        del todo[partition]
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def _messages(self, count: int) -> Iterator[list[Message]]:
        """Yield messages as they arrive, without end. Raises KafkaException when none arrive in time."""
        heard_at = time.monotonic()
        while True:
            if messages := self._poll(count):
                yield messages
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > ANSWER_TIMEOUT_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its only name

    def _poll(self, count: int) -> list[Message]:
        """Return available messages, as soon as there are any: consume() alone waits until its batch is full."""
        first = self._consumer.poll(0.2)
        return [] if first is None else without_group_errors([first, *self._consumer.consume(count - 1, timeout=0)])


def record_of(message: Message) -> KafkaRecord:
    """Return a copy of a message of librdkafka."""
    return KafkaRecord(
        message.topic() or "", message.partition() or 0, message.offset() or 0, message.timestamp()[1],
        message.key(), message.value(), message.headers() or [],  # type: ignore[arg-type]
    )  # fmt: skip


def without_group_errors(messages: list[Message]) -> list[Message]:
    """Drop errors about the consumer group: the client looks it up, but no group is joined or needed."""
    if not any(map(Message.error, messages)):
        return messages
    errors = [message.error() for message in messages]
    denied = KafkaError.GROUP_AUTHORIZATION_FAILED
    return [m for m, error in zip(messages, errors, strict=True) if error is None or error.code() != denied]


def is_end_of_partition(message: Message) -> bool:
    """Return whether a message only says that the partition has ended. Raises KafkaException for other errors."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
        return True
    raise KafkaException(error)
