"""Reads large offset ranges of a topic fast: whole batches, of which only selected records are copied."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from keepstream.schemas.dead_letter import PREFIX
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.range_reader import ANSWER_TIMEOUT_S, is_about_the_group, record_of

_BATCH = 5000
"""Messages per call; 5,000 of them take about 10 MB."""
_SETTINGS = {
    "group.id": "keepstream-audit",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",  # what retention deletes while we read is skipped
    "fetch.message.max.bytes": 4 * 1024 * 1024,
    "queued.max.messages.kbytes": 32 * 1024,
    "queued.min.messages": 50_000,
    # The next partition waits for the fetch in progress, which must not wait at the end of this one (500 ms) or for a
    # full queue (1 s).
    "fetch.wait.max.ms": 5,
    "fetch.queue.backoff.ms": 5,
}
_ID = PREFIX + "id"


@dataclass(frozen=True, slots=True)
class Scanned:
    """A batch: the offset after it, the number of its records, and those that were selected."""

    reached: int
    count: int
    records: Sequence[KafkaRecord]


class TopicScan:
    """Reads partitions one after another. Joins no group; everything raises KafkaException when no broker answers."""

    def __init__(self, client: Mapping[str, object], topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer({**client, **_SETTINGS})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def batches(self, partition: int, start: int, end: int) -> Iterator[list[Message]]:
        """Yield the records of ``[start, end)`` in order. Offsets without a record are passed over."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, start)])
        heard_at, reached = time.monotonic(), False
        while not reached:
            messages = self._poll()
            heard_at = time.monotonic() if messages else heard_at
            if time.monotonic() - heard_at > ANSWER_TIMEOUT_S:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - its only name
            has_errors = any(map(Message.error, messages))
            ended = has_errors and _ended(messages)
            records = [m for m in messages if m.error() is None] if has_errors else messages
            past = bool(records) and (records[-1].offset() or 0) >= end - 1
            if past:
                records = [m for m in records if (m.offset() or 0) < end]
            reached = ended or past
            if records:
                yield records
        self._consumer.unassign()

    def unaccounted(
        self, partition: int, start: int, end: int, unknown: Callable[[int, Sequence[int]], Iterable[int]]
    ) -> Iterator[Scanned]:
        """Yield each batch with the records at those indices that ``unknown(partition, offsets)`` returns."""
        for batch in self.batches(partition, start, end):
            offsets: list[Any] = [*map(Message.offset, batch)]
            records = [record_of(batch[i]) for i in unknown(partition, offsets)]
            yield Scanned(offsets[-1] + 1, len(batch), records)

    def dead_letter_ids(self, partition: int, start: int, end: int) -> Iterator[tuple[int, list[str]]]:
        """Yield, per batch, the offset after it and the ids of keepstream's dead letters in it."""
        for batch in self.batches(partition, start, end):
            headers: Iterator[Any] = (pair for message in batch for pair in message.headers() or ())
            ids = (value for name, value in headers if name == _ID)
            yield (batch[-1].offset() or 0) + 1, [_text(value) for value in ids if value]

    def offsets_at(self, moment: datetime, bounds: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """Return each partition's first offset whose Kafka timestamp is ``moment`` or later, else its end."""
        asked = [TopicPartition(self._topic, p, int(moment.timestamp() * 1000)) for p in bounds]
        found = self._consumer.offsets_for_times(asked, timeout=ANSWER_TIMEOUT_S) if asked else []
        return {place.partition: place.offset if place.offset >= 0 else bounds[place.partition][1] for place in found}

    def _poll(self) -> list[Message]:
        """Return available messages, as soon as there are any: consume() alone waits until its batch is full."""
        first = self._consumer.poll(0.2)
        return [] if first is None else [first, *self._consumer.consume(_BATCH - 1, timeout=0)]


def _ended(messages: list[Message]) -> bool:
    """Whether the end of the partition is among the errors. Raises any other that is not about the group."""
    errors = [error for m in messages if (error := m.error()) is not None and not is_about_the_group(m)]
    for error in errors:
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
            raise KafkaException(error)
    return bool(errors)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
