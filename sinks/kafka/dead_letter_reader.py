"""Reading the dead letter topic: newest first, oldest first, or as letters arrive."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import KafkaAdmin, Range
from keepstream.sinks.kafka.range_reader import RangeReader
from keepstream.sinks.kafka.reverse_scan import scan_newest_first
from keepstream.sinks.kafka.time_search import narrowed

COPY_WINDOW = 100_000
"""How many letters back a copy of one is recognised. A crash leaves its copies closer together than that."""
# One letter is wanted: fetch one batch, not a megabyte. A chunk is wanted: do not fetch on behind it.
_PROBING = {"fetch.message.max.bytes": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
_JUMPING = {"fetch.message.max.bytes": 256 * 1024, "queued.min.messages": 1}


@dataclass(frozen=True, slots=True)
class Stretch:
    """Which part of the topic to walk. A superset of what was asked for: see `narrowed`."""

    partitions: Sequence[int] | None = None
    since: datetime | None = None
    until: datetime | None = None
    from_offset: int = 0
    ends: Mapping[int, int] = field(default_factory=dict)
    """Partition -> where to end, for those that are not wanted to their end: how a reader goes on where it stopped."""


EVERYTHING = Stretch()


def read_all(client: KafkaAdmin, topic: str) -> Iterator[KafkaRecord]:
    """Yield every record the topic holds at the time of the call, partition by partition, copies too."""
    with RangeReader(client, topic) as seeker, closing(_one_by_one(seeker, client.watermarks(topic))) as records:
        yield from records


def newest_first(
    client: KafkaAdmin, topic: str, stretch: Stretch = EVERYTHING, *, copies: bool = False
) -> Generator[DeadLetterRecord]:
    """Walk back from the end, all partitions merged by time of death; reads little more than is taken.

    Without ``copies`` only the newest of letters with the same id is yielded, as far as `COPY_WINDOW` reaches.
    """
    ranges = _ranges(client, topic, stretch)
    with RangeReader(client, topic, **_JUMPING) as seeker, closing(scan_newest_first(seeker, ranges)) as letters:
        yield from letters if copies else _distinct(letters)


def oldest_first(
    client: KafkaAdmin, topic: str, stretch: Stretch = EVERYTHING, *, copies: bool = False
) -> Iterator[DeadLetterRecord]:
    """Walk from the start to where the topic ends when the walk begins: partition by partition, by offset.

    Without ``copies`` only the oldest of letters with the same id is yielded, as far as `COPY_WINDOW` reaches.
    """
    ranges = _ranges(client, topic, stretch)
    with RangeReader(client, topic) as seeker, closing(_one_by_one(seeker, ranges)) as records:
        letters = map(DeadLetterRecord, records)
        yield from letters if copies else _distinct(letters)


def follow(client: KafkaAdmin, topic: str, stretch: Stretch = EVERYTHING) -> Iterator[DeadLetterRecord]:
    """Yield letters as they arrive, for ever; first those since the time or offset that is given."""
    past = stretch.since is not None or stretch.from_offset > 0
    starts = {p: start if past else end for p, (start, end) in _ranges(client, topic, stretch).items()}
    with RangeReader(client, topic) as seeker:
        yield from map(DeadLetterRecord, seeker.follow(starts))


def letter_at(client: KafkaAdmin, topic: str, partition: int, offset: int) -> DeadLetterRecord | None:
    """Return the letter at this very place, or None."""
    low, high = client.watermarks(topic).get(partition, (0, 0))
    if not low <= offset < high:
        return None
    with RangeReader(client, topic, **_PROBING) as seeker:
        return next(map(DeadLetterRecord, seeker.read({partition: (offset, offset + 1)})), None)


def _ranges(client: KafkaAdmin, topic: str, stretch: Stretch) -> dict[int, Range]:
    bounds = _bounds(client, topic, stretch)
    if stretch.since is None and stretch.until is None:
        return bounds
    with RangeReader(client, topic, **_PROBING) as seeker:
        return narrowed(seeker, bounds, stretch.since, stretch.until)


def _bounds(client: KafkaAdmin, topic: str, stretch: Stretch) -> dict[int, Range]:
    bounds = client.watermarks(topic, stretch.partitions)
    bounds = {p: (low, max(low, min(high, stretch.ends.get(p, high)))) for p, (low, high) in bounds.items()}
    return {p: (max(low, min(high, stretch.from_offset)), high) for p, (low, high) in bounds.items()}


def _one_by_one(seeker: RangeReader, ranges: Mapping[int, Range]) -> Generator[KafkaRecord]:
    for partition, bounds in ranges.items():
        yield from seeker.read({partition: bounds})


def _distinct(letters: Iterable[DeadLetterRecord]) -> Iterator[DeadLetterRecord]:
    seen: OrderedDict[str, None] = OrderedDict()
    for letter in letters:
        if letter.id in seen:
            continue
        seen[letter.id] = None
        if len(seen) > COPY_WINDOW:
            seen.popitem(last=False)
        yield letter
