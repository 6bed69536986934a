"""Fetches dead letters from the topic by the record ids that PostgreSQL names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from keepstream.app.errors import NOT_FOUND, KeepstreamError
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.kafka.admin import KafkaAdmin, Range
from keepstream.sinks.kafka.range_reader import RangeReader

MAX_IDS = 1000
"""More dead letters than this are found by reading the topic: those fetched by id are in memory at once."""
_LOOKUP = {"fetch.message.max.bytes": 64 * 1024, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""Consumer settings: a page of neighbours is one fetch, and little is fetched around a single one."""
_NEAR = 32
"""Records that lie no further apart are read in one go: a jump costs as much as reading so many."""


class StaleRecordIdError(Exception):
    """PostgreSQL names no record of this topic for a dead letter, or a record that is not this dead letter."""


@contextmanager
def open_offset_reader(client: KafkaAdmin, topic: str) -> Iterator[OffsetReader]:
    with RangeReader(client, topic, **_LOOKUP) as reader:
        yield OffsetReader(topic, reader)


def fetch_by_id(
    reader: OffsetReader, ids: Sequence[str], known: Callable[[Sequence[str]], Mapping[str, str | None]]
) -> list[DeadLetterRecord]:
    """Return the dead letters of these ids, oldest first within each partition. Raises `StaleRecordIdError`.

    An id is a dead letter's own, whose record id ``known`` may return, or the record id itself.
    """
    if len(ids) > MAX_IDS:
        raise StaleRecordIdError(f"{len(ids)} ids")
    record_ids: dict[str, str | None] = {i: i if parse_record_id(i)[0] == reader.topic else None for i in ids}
    record_ids |= known([i for i, record_id in record_ids.items() if record_id is None])
    found = filter(None, reader.fetch(record_ids).values())
    return sorted(found, key=lambda dead_letter: (dead_letter.record.partition, dead_letter.record.offset))


class NamedIds:
    """The ids that a command names, so that one that does not exist is no success."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._missing = dict.fromkeys(ids)

    def find(self, dead_letter: DeadLetterRecord) -> list[str]:
        """Return the ids that name this dead letter, the first time."""
        names = [name for name in {dead_letter.id, dead_letter.record_id} if name in self._missing]
        for name in names:
            del self._missing[name]
        return names

    def check(self) -> None:
        """Raise `KeepstreamError` (3) if an id named none of the dead letters."""
        if self._missing:
            hint = "`keepstream dlq list --include-resolved` lists ids; --event-id selects by event id"
            raise KeepstreamError("unknown_letter", f"not found: {', '.join(self._missing)}", hint, NOT_FOUND)


def require_ids(found: Iterable[DeadLetterRecord], ids: Sequence[str]) -> Generator[DeadLetterRecord]:
    """Yield the dead letters; raise `KeepstreamError` (3) in the end if an id named none of them."""
    named = NamedIds(ids)
    for dead_letter in found:
        if ids:
            named.find(dead_letter)
        yield dead_letter
    named.check()


class OffsetReader:
    """Reads dead letters of one topic by record id, several partitions at once."""

    def __init__(self, topic: str, reader: RangeReader) -> None:
        self.topic, self.reader = topic, reader
        self._bounds: dict[int, Range] | None = None

    def watermarks(self) -> dict[int, Range]:
        """Return (first offset, offset after the last) of each partition as it stands now."""
        self._bounds = self.reader.watermarks()
        return self._bounds

    def fetch(self, record_ids: Mapping[str, str | None]) -> dict[str, DeadLetterRecord | None]:
        """Return each dead letter by its id, None for one that retention or a purge deleted.

        Raises `StaleRecordIdError` where a record id names no record of the topic, or that of another dead letter.
        """
        try:
            return self._fetch(record_ids, self._bounds or self.watermarks())
        except StaleRecordIdError:  # records were produced or deleted since the watermarks were read
            return self._fetch(record_ids, self.watermarks())

    def _fetch(
        self, record_ids: Mapping[str, str | None], bounds: Mapping[int, Range]
    ) -> dict[str, DeadLetterRecord | None]:
        found: dict[str, DeadLetterRecord | None] = dict.fromkeys(record_ids)
        wanted: dict[int, dict[int, str]] = defaultdict(dict)
        for name, record_id in record_ids.items():
            partition, offset = self._locate(record_id, bounds)
            if offset >= bounds[partition][0]:
                wanted[partition][offset] = name
        for dead_letter in self._read({partition: _ranges(offsets) for partition, offsets in wanted.items()}):
            name = wanted[dead_letter.record.partition].pop(dead_letter.record.offset, "")
            if name and name not in (dead_letter.id, dead_letter.record_id):
                raise StaleRecordIdError(name)
            found |= {name: dead_letter} if name else {}
        if any(wanted.values()):
            raise StaleRecordIdError(wanted)
        return found

    def _locate(self, record_id: str | None, bounds: Mapping[int, Range]) -> tuple[int, int]:
        topic, partition, offset = parse_record_id(record_id or "")
        if topic != self.topic or partition is None or offset is None or partition not in bounds:
            raise StaleRecordIdError(record_id)
        if offset >= bounds[partition][1]:
            raise StaleRecordIdError(record_id)
        return partition, offset

    def _read(self, ranges: dict[int, list[Range]]) -> Iterator[DeadLetterRecord]:
        while ranges := {partition: left for partition, left in ranges.items() if left}:
            part = {partition: left.pop() for partition, left in ranges.items()}
            yield from map(self.reader.dead_letter, self.reader.read(part))


def _ranges(offsets: Mapping[int, str]) -> list[Range]:
    """Return what to read for these offsets, ascending."""
    ordered = sorted(offsets)
    breaks = [i for i, (here, following) in enumerate(pairwise(ordered), 1) if following - here > _NEAR]
    edges = [0, *breaks, len(ordered)]
    return [(ordered[start], ordered[end - 1] + 1) for start, end in pairwise(edges) if start < end]
