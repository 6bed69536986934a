"""Reads large offset ranges of a topic fast: whole batches, of which only selected records are copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import Message, TopicPartition

from keepstream.schemas.dead_letter import ID
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import KafkaAdmin, Range
from keepstream.sinks.kafka.range_reader import ANSWER_TIMEOUT_S, RangeReader, is_end_of_partition, record_of

_BATCH = 5000
"""Messages per call; 5,000 of them take about 10 MB."""
_SETTINGS = {
    "group.id": "keepstream-audit",
    "fetch.message.max.bytes": 4 * 1024 * 1024,
    "queued.max.messages.kbytes": 32 * 1024,
    "queued.min.messages": 50_000,
}


@dataclass(frozen=True, slots=True)
class ScannedBatch:
    """The offset after a batch, the number of its records, and the selected records."""

    reached: int
    count: int
    records: Sequence[KafkaRecord]


class TopicScan(RangeReader):
    """Reads partitions in whole batches, one partition after another. Raises KafkaException like `RangeReader`."""

    def __init__(self, client: KafkaAdmin, topic: str) -> None:
        super().__init__(client, topic, **_SETTINGS)

    def batches(self, partition: int, start: int, end: int) -> Iterator[list[Message]]:
        """Yield the records of ``[start, end)`` in order. Offsets without a record are passed over."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, start)])
        for messages in self._messages(_BATCH):
            ended = any(map(Message.error, messages)) and True in [is_end_of_partition(m) for m in messages]
            records = [m for m in messages if m.error() is None] if ended else messages
            past = bool(records) and (records[-1].offset() or 0) >= end - 1
            if past:
                records = [m for m in records if (m.offset() or 0) < end]
            if records:
                yield records
            if ended or past:
                break
        self._consumer.unassign()

    def unaccounted(
        self, partition: int, start: int, end: int, uncovered: Callable[[int, Sequence[int]], Iterable[int]]
    ) -> Iterator[ScannedBatch]:
        """Yield each batch with the records at those indices that ``uncovered(partition, offsets)`` returns."""
        for batch in self.batches(partition, start, end):
            offsets: list[Any] = [*map(Message.offset, batch)]
            records = [record_of(batch[i]) for i in uncovered(partition, offsets)]
            yield ScannedBatch(offsets[-1] + 1, len(batch), records)

    def dead_letter_ids(self, partition: int, start: int, end: int) -> Iterator[tuple[int, list[str]]]:
        """Yield, per batch, the offset after it and the ids of keepstream's dead letters in it."""
        for batch in self.batches(partition, start, end):
            headers: Iterator[Any] = (pair for message in batch for pair in message.headers() or ())
            ids = (value for name, value in headers if name == ID)
            yield (batch[-1].offset() or 0) + 1, [_text(value) for value in ids if value]

    def offsets_at(self, time: datetime, bounds: Mapping[int, Range]) -> dict[int, int]:
        """Return each partition's first offset whose Kafka timestamp is ``time`` or later, else its end."""
        asked = [TopicPartition(self._topic, p, int(time.timestamp() * 1000)) for p in bounds]
        found = self._consumer.offsets_for_times(asked, timeout=ANSWER_TIMEOUT_S) if asked else []
        return {at.partition: at.offset if at.offset >= 0 else bounds[at.partition][1] for at in found}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
