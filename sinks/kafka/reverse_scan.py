"""Reads several partitions backwards at once, newest first, in chunks and in bounded memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence

from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka.admin import Range
from keepstream.sinks.kafka.range_reader import RangeReader

FIRST_CHUNK, MAX_CHUNK = 64, 8192
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
"""Memory of all partitions together; each holds at least one dead letter."""
_RECORD_BYTES, _HEADER_BYTES = 800, 170
"""Memory of Python's objects, beside the bytes of a record and of a header."""


def scan_newest_first(reader: RangeReader, ranges: Mapping[int, Sequence[Range]]) -> Generator[DeadLetterRecord]:
    """Yield the dead letters of ``ranges``, partition -> ascending [start, end), merged by time of failure.

    A partition is read on, further back, only when what was read of it is used up.
    """
    share = MAX_BUFFERED_BYTES // max(1, len(ranges))
    buffers = {p: _PartitionBuffer(parts, share) for p, parts in ranges.items()}
    heads: list[tuple[float, int]] = []
    empty = list(buffers)
    while True:
        for partition in _refill(reader, buffers, empty):
            heapq.heappush(heads, buffers[partition].head(partition))
        if not heads:
            return
        _, partition = heads[0]
        yield buffers[partition].dead_letters.pop()
        empty = []
        if buffers[partition].dead_letters:
            heapq.heapreplace(heads, buffers[partition].head(partition))
        else:
            heapq.heappop(heads)
            empty = [partition]


def _refill(reader: RangeReader, buffers: Mapping[int, _PartitionBuffer], partitions: Sequence[int]) -> Iterator[int]:
    """Read the next chunk of each, and one more where a chunk was empty; yield those that have dead letters now."""
    empty = list(partitions)
    while empty := [p for p in empty if not buffers[p].finished]:
        for record in reader.read({p: buffers[p].open_chunk() for p in empty}):
            buffers[record.partition].push(reader.dead_letter(record))
        for partition in empty:
            buffers[partition].close_chunk()
        yield from (p for p in empty if buffers[p].dead_letters)
        empty = [p for p in empty if not buffers[p].dead_letters]


class _PartitionBuffer:
    """Dead letters of one partition that were read, newest last, and the ranges still to be read."""

    def __init__(self, ranges: Sequence[Range], max_bytes: int) -> None:
        self.dead_letters: deque[DeadLetterRecord] = deque()
        self._ranges = [*ranges]
        self._start = self._end = 0
        self._max_bytes = max_bytes
        self._size = FIRST_CHUNK
        self._bytes = 0
        self._overflowed = False

    @property
    def finished(self) -> bool:
        while self._start >= self._end and self._ranges:
            self._start, self._end = self._ranges.pop()
        return self._start >= self._end

    def head(self, partition: int) -> tuple[float, int]:
        """Return the sort key in the heap: the latest failure comes first."""
        return -self.dead_letters[-1].failed_at.timestamp(), partition

    def open_chunk(self) -> tuple[int, int]:
        self._bytes, self._overflowed = 0, False
        return max(self._start, self._end - self._size), self._end

    def push(self, dead_letter: DeadLetterRecord) -> None:
        """Append a dead letter. Beyond the limit the oldest are dropped, and are read again with the next chunk."""
        self.dead_letters.append(dead_letter)
        self._bytes += _memory_size(dead_letter.record)
        while self._bytes > self._max_bytes and len(self.dead_letters) > 1:
            self._overflowed = True
            self._bytes -= _memory_size(self.dead_letters.popleft().record)

    def close_chunk(self) -> None:
        """Set the next chunk: twice as large, or as large as memory allowed."""
        if self._overflowed:
            self._end = self.dead_letters[0].record.offset
            self._size = len(self.dead_letters)
        else:
            self._end = max(self._start, self._end - self._size)
            self._size = min(MAX_CHUNK, self._size * 2)


def _memory_size(record: KafkaRecord) -> int:
    size = len(record.value or b"") + len(record.key or b"") + _RECORD_BYTES
    for _, value in record.headers:
        size += len(value or b"") + _HEADER_BYTES
    return size
