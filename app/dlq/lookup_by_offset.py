"""Dead letters whose places PostgreSQL names, read from the topic without a search."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import parse_record_id
from keepstream.sinks.kafka.admin import KafkaAdmin, Range
from keepstream.sinks.kafka.range_reader import RangeReader

MAX_NAMED = 1000
"""More letters than this are walked to: those that were named are in memory at once."""
_NEAR = 32
"""Letters that lie no further apart are read in one go: a jump costs as much as reading so many."""
_LOOKING_UP = {"fetch.message.max.bytes": 1, "queued.min.messages": 1, "fetch.queue.backoff.ms": 0}
"""One batch of the topic per fetch: what is around a letter is of no use."""


class StaleRecordIdError(Exception):
    """PostgreSQL does not know where a letter lies in this topic, or another one lies there."""


@contextmanager
def places_of(client: KafkaAdmin, topic: str) -> Iterator[Places]:
    """Look up letters in all of a topic."""
    with RangeReader(client, topic, **_LOOKING_UP) as seeker:
        yield Places(topic, seeker)


def fetch_by_id(
    client: KafkaAdmin, topic: str, names: Sequence[str], known: Callable[[Sequence[str]], Mapping[str, str]]
) -> list[DeadLetterRecord] | None:
    """Return the letters of these names, oldest first within each partition; None where only a walk finds them all.

    A name is a letter's id, whose place ``known`` may tell, or its place itself.
    """
    if not names or len(names) > MAX_NAMED:
        return None
    places = {name: name if parse_record_id(name)[0] == topic else None for name in names}
    places |= known([name for name, place in places.items() if place is None])
    if None in places.values():
        return None
    try:
        with places_of(client, topic) as reader:
            found = reader.find(places)
    except StaleRecordIdError:
        return None
    return sorted(filter(None, found.values()), key=lambda letter: (letter.record.partition, letter.record.offset))


class Places:
    """Reads letters at their places, several partitions at once."""

    def __init__(self, topic: str, seeker: RangeReader) -> None:
        self._topic, self._seeker = topic, seeker

    def find(self, places: Mapping[str, str | None]) -> dict[str, DeadLetterRecord | None]:
        """Return each letter by its name, None for one that left the topic. Raises NoPlaceError."""
        bounds = self._seeker.watermarks()
        found: dict[str, DeadLetterRecord | None] = dict.fromkeys(places)
        wanted: dict[int, dict[int, str]] = defaultdict(dict)
        for name, place in places.items():
            partition, offset = self._place(place, bounds)
            if offset >= bounds[partition][0]:
                wanted[partition][offset] = name
        for letter in self._read({partition: _ranges(offsets) for partition, offsets in wanted.items()}):
            asked = wanted[letter.record.partition].get(letter.record.offset)
            if asked is None:  # a neighbour
                continue
            if asked not in (letter.id, letter.record_id):
                raise StaleRecordIdError(asked)
            found[asked] = letter
        return found

    def _place(self, place: str | None, bounds: Mapping[int, Range]) -> tuple[int, int]:
        topic, partition, offset = parse_record_id(place or "")
        if topic != self._topic or partition is None or offset is None or partition not in bounds:
            raise StaleRecordIdError(place)
        if offset >= bounds[partition][1]:
            raise StaleRecordIdError(place)
        return partition, offset

    def _read(self, ranges: dict[int, list[Range]]) -> Iterator[DeadLetterRecord]:
        while ranges := {partition: left for partition, left in ranges.items() if left}:
            yield from map(
                DeadLetterRecord, self._seeker.read({partition: left.pop() for partition, left in ranges.items()})
            )


def _ranges(offsets: Mapping[int, str]) -> list[Range]:
    """Return what to read for these offsets, the last part first."""
    ordered = sorted(offsets)
    breaks = [i for i, (here, following) in enumerate(pairwise(ordered), 1) if following - here > _NEAR]
    edges = [0, *breaks, len(ordered)]
    return [(ordered[start], ordered[end - 1] + 1) for start, end in pairwise(edges)]
