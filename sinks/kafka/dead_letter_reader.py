"""Reads the dead letter topic: newest first, oldest first, or as dead letters arrive."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import KafkaAdmin, Range
from keepstream.sinks.kafka.range_reader import RangeReader
from keepstream.sinks.kafka.reverse_scan import scan_newest_first

COPY_WINDOW = 100_000
"""How many dead letters back a copy of one is recognised. A crash leaves its copies closer together than that."""
Ranges = Mapping[int, Sequence[Range]]
"""Partition -> what to read of it, ascending."""
_SINGLE_RECORD = {"fetch.message.max.bytes": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""Consumer settings to read single records: one batch of the topic per fetch."""
_JUMPING = {"fetch.message.max.bytes": 256 * 1024, "queued.min.messages": 1}
"""Consumer settings to read chunks: nothing is fetched on behind one."""


def read_all(client: KafkaAdmin, topic: str) -> Iterator[KafkaRecord]:
    """Yield every record the topic holds at the time of the call, partition by partition, copies too."""
    with RangeReader(client, topic) as reader:
        yield from _one_by_one(reader, _whole(client, topic))


def newest_first(
    client: KafkaAdmin, topic: str, ranges: Ranges | None = None, opened: RangeReader | None = None
) -> Generator[DeadLetterRecord]:
    """Yield dead letters back from the end, all partitions merged by time of failure; reads little more than is taken.

    Of dead letters with the same id the newest is yielded, as far as `COPY_WINDOW` reaches. A reader that is ``opened``
    may be used by the caller between two dead letters.
    """
    with nullcontext(opened) if opened else RangeReader(client, topic, **_JUMPING) as reader:
        ranges = _whole(client, topic) if ranges is None else ranges
        yield from _distinct(scan_newest_first(reader, ranges))


def oldest_first(
    client: KafkaAdmin, topic: str, ranges: Ranges | None = None, *, copies: bool = False
) -> Generator[DeadLetterRecord]:
    """Yield dead letters from the start to where the topic ends at the call: partition by partition, by offset.

    Without ``copies`` only the oldest of dead letters with the same id is yielded, as far as `COPY_WINDOW` reaches.
    """
    with RangeReader(client, topic) as reader:
        found = map(reader.dead_letter, _one_by_one(reader, _whole(client, topic) if ranges is None else ranges))
        yield from found if copies else _distinct(found)


def follow(client: KafkaAdmin, topic: str, starts: Mapping[int, int]) -> Generator[DeadLetterRecord]:
    """Yield dead letters from these offsets on, and then as they arrive, for ever."""
    with RangeReader(client, topic) as reader:
        yield from map(reader.dead_letter, reader.follow(starts))


def dead_letter_at(client: KafkaAdmin, topic: str, partition: int, offset: int) -> DeadLetterRecord | None:
    """Return the dead letter at this offset, or None."""
    low, high = client.watermarks(topic).get(partition, (0, 0))
    if not low <= offset < high:
        return None
    with RangeReader(client, topic, **_SINGLE_RECORD) as reader:
        return next(map(reader.dead_letter, reader.read({partition: (offset, offset + 1)})), None)


def _whole(client: KafkaAdmin, topic: str) -> Ranges:
    return {partition: [bounds] for partition, bounds in client.watermarks(topic).items()}


def _one_by_one(reader: RangeReader, ranges: Ranges) -> Generator[KafkaRecord]:
    for partition, parts in ranges.items():
        for part in parts:
            yield from reader.read({partition: part})


def _distinct(dead_letters: Iterable[DeadLetterRecord]) -> Iterator[DeadLetterRecord]:
    seen: OrderedDict[str, None] = OrderedDict()
    for dead_letter in dead_letters:
        if dead_letter.id in seen:
            continue
        seen[dead_letter.id] = None
        if len(seen) > COPY_WINDOW:
            seen.popitem(last=False)
        yield dead_letter
