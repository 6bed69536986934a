"""A lane per partition: what was delivered and is not settled yet, in order.

A lane lives from one assignment of its partition to the next revocation or seek. Closing it abandons what it holds:
the next owner reads it again from the stored offset. There is no arithmetic over holes in the offsets, because only
offsets that were really delivered count (Faust traps T9, T10, T30, T31).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from keepstream.schemas.outcome import BatchRange
from keepstream.schemas.record import Record

RECORD_OVERHEAD_BYTES = 700
"""What a record costs in memory beside its value (measured: aiokafka's ConsumerRecord and its parts)."""


def size_of(records: Sequence[Record]) -> int:
    """Return about how many bytes records hold in memory."""
    values = sum([len(r.value or b"") for r in records])
    headers = sum([len(value or b"") for r in records if r.headers for _, value in r.headers])
    return values + headers + RECORD_OVERHEAD_BYTES * len(records)


class PartitionRevokedError(Exception):
    """The batch's partition was taken away: whoever owns it now reads it again."""


@dataclass(slots=True, eq=False)
class Batch:
    """Up to 100 records of one partition, in order, with the stretch of offsets they cover."""

    lane: PartitionQueue
    records: Sequence[Record]
    span: BatchRange
    size_bytes: int

    def check_open(self, *, waiting: bool = False) -> None:
        """Raise AbandonedError when the partition was taken away, or when waiting longer would delay the shutdown."""
        if self.lane.closed or (waiting and self.lane.finishing):
            raise PartitionRevokedError


@dataclass(slots=True, eq=False)
class PartitionQueue:
    """The unsettled batches of one partition. ``room`` is set whenever a settled batch has made room."""

    topic: str
    partition: int
    next_expected: int
    """Where the next batch has to begin: the end of the last delivered one."""
    epoch: int
    """Which seek this lane follows. Records fetched before that seek belong to another lane."""
    room: asyncio.Event
    closed: bool = False
    size_bytes: int = 0
    settled_to: int = field(init=False)
    """The end of the leading settled batches; at first where the lane begins, for that was settled before it."""
    stored_to: int = field(init=False)
    """The offset that the store holds for this partition, as far as this lane has brought it."""
    position: int | None = None
    """How far the consumer has read, markers of transactions included."""
    unsettled: deque[Batch] = field(default_factory=deque)
    _ready: asyncio.Queue[Batch | None] = field(default_factory=asyncio.Queue)
    finishing: bool = False

    def __post_init__(self) -> None:
        self.settled_to = self.stored_to = self.next_expected

    def deliver(self, records: Sequence[Record]) -> Batch | None:
        """Take a chunk off the fetch. Return None for records that lie before what this lane expects."""
        if records[0].offset < self.next_expected:
            return None
        span = BatchRange(self.topic, self.partition, self.next_expected, records[-1].offset + 1, len(records))
        size_bytes = size_of(records)
        batch = Batch(self, records, span, size_bytes)
        self.next_expected = span.next_offset
        self.size_bytes += size_bytes
        self.unsettled.append(batch)
        return batch

    def enqueue(self, batch: Batch) -> None:
        """Hand a delivered batch to whoever works this lane."""
        self._ready.put_nowait(batch)

    async def next_batch(self) -> Batch | None:
        """Wait for the next batch in order; None once the lane is closed or finishing."""
        batch = await self._ready.get()
        return None if self.closed or self.finishing else batch

    def settle(self, batch: Batch) -> None:
        """Mark the leading batch as settled. Batches of a lane settle in order, one at a time."""
        if self.closed:
            return
        settled = self.unsettled.popleft()
        if settled is not batch:
            raise RuntimeError(f"{self.topic}-{self.partition}: settled {batch.span} before {settled.span}")
        self.settled_to = self.stored_to = batch.span.next_offset
        self.size_bytes -= batch.size_bytes
        self.room.set()

    def read_to(self, position: int) -> None:
        """Remember how far the consumer has read; with nothing unsettled that is settled too."""
        self.position = position
        if not self.unsettled and position > self.next_expected:
            self.settled_to = position

    def finish(self) -> None:
        """Let the batch in flight settle and start no other."""
        self.finishing = True
        self._ready.put_nowait(None)

    def close(self) -> None:
        """Abandon everything: the batch in flight notices at its next check."""
        self.closed = True
        self.unsettled.clear()
        self.room.set()
        self._ready.put_nowait(None)
