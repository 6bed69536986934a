"""A walk back over several partitions at once, newest first, in chunks: memory stays flat."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import Range
from keepstream.sinks.kafka.range_reader import RangeReader

FIRST_CHUNK, MAX_CHUNK = 64, 8192
HELD_BYTES = 64 * 1024 * 1024
"""What all partitions together may hold, but at least one letter each."""
_RECORD_BYTES, _HEADER_BYTES = 800, 170
"""What Python adds to a record's and a header's own bytes."""


def scan_newest_first(reader: RangeReader, ranges: Mapping[int, Sequence[Range]]) -> Generator[DeadLetterRecord]:
    """Yield the dead letters of ``ranges``, partition -> ascending [start, end), merged by time of failure.

    A partition is read on, further back, only when what was read of it is used up.
    """
    share = HELD_BYTES // max(1, len(ranges))
    stacks = {p: _Stack(parts, share) for p, parts in ranges.items()}
    heads: list[tuple[float, int]] = []
    dry = list(stacks)
    while True:
        for partition in _refill(reader, stacks, dry):
            heapq.heappush(heads, stacks[partition].head(partition))
        if not heads:
            return
        _, partition = heads[0]
        yield stacks[partition].letters.pop()
        dry = []
        if stacks[partition].letters:
            heapq.heapreplace(heads, stacks[partition].head(partition))
        else:
            heapq.heappop(heads)
            dry = [partition]


def _refill(reader: RangeReader, stacks: Mapping[int, _Stack], partitions: Sequence[int]) -> Iterator[int]:
    """Read the next chunk of each, and one more where a chunk held nothing; yield those that have letters now."""
    dry = list(partitions)
    while dry := [p for p in dry if not stacks[p].finished]:
        for record in reader.read({p: stacks[p].open_chunk() for p in dry}):
            stacks[record.partition].push(record)
        for partition in dry:
            stacks[partition].close_chunk()
        yield from (p for p in dry if stacks[p].letters)
        dry = [p for p in dry if not stacks[p].letters]


class _Stack:
    """Dead letters of one partition that were read, newest last, and the ranges still to be read."""

    def __init__(self, ranges: Sequence[Range], max_bytes: int) -> None:
        self.letters: deque[DeadLetterRecord] = deque()
        self._ranges = [*ranges]
        self._start = self._end = 0
        self._max_bytes = max_bytes
        self._size = FIRST_CHUNK
        self._bytes = 0
        self._overflown = False

    @property
    def finished(self) -> bool:
        while self._start >= self._end and self._ranges:
            self._start, self._end = self._ranges.pop()
        return self._start >= self._end

    def head(self, partition: int) -> tuple[float, int]:
        """Return what a heap sorts by: the latest death comes first."""
        return -self.letters[-1].failed_at.timestamp(), partition

    def open_chunk(self) -> tuple[int, int]:
        self._bytes, self._overflown = 0, False
        return max(self._start, self._end - self._size), self._end

    def push(self, record: KafkaRecord) -> None:
        """Put a record on top. What is too much falls off the bottom, and belongs to the next chunk again."""
        self.letters.append(DeadLetterRecord(record))
        self._bytes += _size_of(record)
        while self._bytes > self._max_bytes and len(self.letters) > 1:
            self._overflown = True
            self._bytes -= _size_of(self.letters.popleft().record)

    def close_chunk(self) -> None:
        """Go on below: twice as far, or as far as the memory allowed."""
        if self._overflown:
            self._end = self.letters[0].record.offset
            self._size = len(self.letters)
        else:
            self._end = max(self._start, self._end - self._size)
            self._size = min(MAX_CHUNK, self._size * 2)


def _size_of(record: KafkaRecord) -> int:
    size = len(record.value or b"") + len(record.key or b"") + _RECORD_BYTES
    for _, value in record.headers:
        size += len(value or b"") + _HEADER_BYTES
    return size
