"""Which offsets of the dead letter topic have to be read because PostgreSQL does not know their records."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from keepstream.app.dlq.lookup_by_offset import OffsetReader, StaleRecordIdError, open_offset_reader
from keepstream.processors.replay.selection import Selection
from keepstream.sinks.kafka.admin import KafkaAdmin, Range
from keepstream.sinks.kafka.dead_letter_reader import Ranges
from keepstream.sinks.postgres.dead_letters import DeadLetterIndex, DeadLetterKey

NEWEST = DeadLetterKey(datetime.max.replace(tzinfo=UTC), "")
"""All failed before this."""
FRESH_S = 60.0
"""Age at which a console loads complete blocks again."""
_BLOCK = 100
_MIN_BLOCKS = 10
"""Fewer complete blocks in a row are read with what is around them: a jump costs as much as reading so many."""
Block = tuple[int, int]
NONE: AbstractSet[Block] = frozenset()


@dataclass
class IndexCoverage:
    """Complete blocks of offsets: all of their records have rows. Older blocks stay complete; newer ones are read."""

    _complete: AbstractSet[Block] = frozenset()
    _loaded_at: float | None = None

    @property
    def is_stale(self) -> bool:
        return self._loaded_at is not None and time.monotonic() - self._loaded_at > FRESH_S

    def load(self, index: DeadLetterIndex, reader: OffsetReader) -> None:
        """Query the complete blocks: 0.3 s per million dead letters."""
        self._loaded_at = time.monotonic()
        self._complete = _complete_blocks(index, reader)

    def uncovered(self, index: DeadLetterIndex, reader: OffsetReader, bounds: Mapping[int, Range]) -> Ranges:
        """Return what of these bounds lies outside of complete blocks."""
        if self._loaded_at is None:
            self.load(index, reader)
        return subtract(bounds, self._complete)


def ranges_of(client: KafkaAdmin, topic: str, selection: Selection, index: DeadLetterIndex | None) -> Ranges:
    """Return what to read of a topic for a selection: all, but for blocks in which no record failed at these times."""
    with open_offset_reader(client, topic) as reader:
        bounds = clip(reader.watermarks(), selection)
        timed = index and (selection.since or selection.until)
        complete = _complete_blocks(index, reader, selection.since, selection.until) if index and timed else NONE
        return subtract(bounds, complete)


def clip(bounds: Mapping[int, Range], selection: Selection) -> dict[int, Range]:
    """Return the part that a selection's partitions and its first offset leave."""
    start = selection.from_offset or 0
    return {
        p: (min(max(low, start), high), high)
        for p, (low, high) in bounds.items()
        if not selection.partitions or p in selection.partitions
    }


def subtract(bounds: Mapping[int, Range], complete: AbstractSet[Block]) -> dict[int, list[Range]]:
    """Return the bounds without long runs of complete blocks; a block that a bound cuts is never complete."""
    return {p: [*_incomplete(p, low, high, complete)] for p, (low, high) in bounds.items()}


def _incomplete(partition: int, low: int, high: int, complete: AbstractSet[Block]) -> Iterator[Range]:
    start = low
    whole = range(-(-low // _BLOCK), high // _BLOCK)
    for is_complete, run in groupby(whole if complete else (), lambda number: (partition, number) in complete):
        blocks = [*run]
        if is_complete and len(blocks) >= _MIN_BLOCKS:
            if start < blocks[0] * _BLOCK:
                yield start, blocks[0] * _BLOCK
            start = (blocks[-1] + 1) * _BLOCK
    if start < high:
        yield start, high


def _complete_blocks(
    index: DeadLetterIndex, reader: OffsetReader, since: datetime | None = None, until: datetime | None = None
) -> AbstractSet[Block]:
    """Ask for complete blocks; there are none where rows name other records, as in a topic that was re-created."""
    newest = index.find(reader.topic, {}, NEWEST, 1, resolved_too=True)
    try:
        fits = any(reader.fetch({key.id: key.record_id for key in newest}).values())
    except StaleRecordIdError:
        return NONE
    return index.complete_blocks(reader.topic, since, until) if fits else NONE
