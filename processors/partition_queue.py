"""The queue of one partition: the batches that were fetched and are not settled yet, in order.

A queue lives from one assignment of its partition to the next revocation or seek. Closing it abandons its batches: the
next owner reads them again from the stored offset. Only fetched offsets count, so holes between them need no arithmetic
(Faust traps T9, T10, T30, T31).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from keepstream.schemas.failure import Failure
from keepstream.schemas.outcome import BatchRange
from keepstream.schemas.record import Record

RECORD_OVERHEAD_BYTES = 700
"""Bytes in memory beside a record's key, value and headers (measured: aiokafka's ConsumerRecord and its parts)."""
HEADER_OVERHEAD_BYTES = 150
"""Bytes in memory beside a header's name and value (measured: a tuple, a str and a bytes object)."""


def memory_size(records: Sequence[Record]) -> int:
    """Return about how many bytes of memory records take."""
    fields = sum([len(r.value or b"") + len(r.key or b"") for r in records])
    headers = [header for r in records if r.headers for header in r.headers]
    names_and_values = sum([len(name) + len(value or b"") for name, value in headers])
    return fields + names_and_values + HEADER_OVERHEAD_BYTES * len(headers) + RECORD_OVERHEAD_BYTES * len(records)


class PartitionRevokedError(Exception):
    """Raised for a batch whose partition was revoked or sought: its next owner reads the records again."""


@dataclass(frozen=True, slots=True)
class FetchedRecords:
    """Records of one partition between the fetch and the partition's queue."""

    topic: str
    partition: int
    epoch: int
    begin: int
    """The end of the records fetched before. A queue that ends elsewhere has missed some."""
    records: Sequence[Record]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TransactionLimit:
    """How much one transaction may hold when several batches of a partition are waiting. A single batch always fits."""

    records: int
    size_bytes: int


ONE_BATCH = TransactionLimit(records=0, size_bytes=0)


@dataclass(slots=True, eq=False)
class Batch:
    """Consecutive records of one partition that are settled together, and the offset range that they cover."""

    queue: PartitionQueue
    records: Sequence[Record]
    offset_range: BatchRange
    size_bytes: int
    borders: Sequence[int] = ()
    """Offsets at which it was joined of smaller batches, ascending; a transaction that is refused is divided there."""


@dataclass(slots=True, eq=False)
class PartitionQueue:
    """The unsettled batches of one partition. ``capacity_freed`` is set when a batch was settled, and by `close`."""

    topic: str
    partition: int
    appended_to: int
    """The end of the last batch; at first the start offset."""
    epoch: int
    """Number of the seek that this queue follows. Records fetched before that seek belong to another queue."""
    capacity_freed: asyncio.Event
    incarnation: int = 0
    """How often the topic was found re-created or truncated."""
    topic_id: str | None = None
    limit: TransactionLimit = ONE_BATCH
    paused: Failure | None = None
    """The failure that pauses the partition; None while it is not paused."""
    failed_attempts: int = 0
    """Failed attempts since the queue was opened, retried ones included."""
    closed: bool = False
    finishing: bool = False
    recovered: bool = False
    """Whether the dead letters that an earlier queue of the partition left in the outbox are published."""
    size_bytes: int = 0
    """Memory of the unsettled records, including those that were fetched and not appended yet."""
    fetched_to: int = field(init=False)
    """The end of the fetched records."""
    settled_to: int = field(init=False)
    """The end of the settled batches: the offset that may be committed to Kafka."""
    stored_to: int = field(init=False)
    """The stored offset of the partition that this queue's last settled batch wrote."""
    unsettled: deque[Batch] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.fetched_to = self.settled_to = self.stored_to = self.appended_to

    def check_open(self, *, waiting: bool = False) -> None:
        """Raise PartitionRevokedError when the queue is closed, or when waiting longer would delay the shutdown."""
        if self.closed or (waiting and self.finishing):
            raise PartitionRevokedError

    def expect(self, records: Sequence[Record]) -> FetchedRecords | None:
        """Reserve memory for fetched records. Return None for records that were fetched before."""
        if records[0].offset < self.fetched_to:
            return None
        size_bytes = memory_size(records)
        fetched = FetchedRecords(self.topic, self.partition, self.epoch, self.fetched_to, records, size_bytes)
        self.fetched_to = records[-1].offset + 1
        self.size_bytes += size_bytes
        return fetched

    def append(self, fetched: FetchedRecords) -> None:
        """Append fetched records as a batch. Raises RuntimeError when records before them were lost after the fetch."""
        if fetched.begin != self.appended_to:
            lost = f"records from offset {self.appended_to} to {fetched.begin}"
            raise RuntimeError(f"{self.topic}-{self.partition}: {lost} were fetched and never reached the queue")
        records = fetched.records
        offset_range = BatchRange(
            self.topic, self.partition, fetched.begin, records[-1].offset + 1, len(records), self.incarnation,
            self.topic_id,
        )  # fmt: skip
        self.appended_to = offset_range.next_offset
        self.unsettled.append(Batch(self, records, offset_range, fetched.size_bytes))
        self._changed.set()

    async def next_batch(self) -> Batch | None:
        """Wait for the first unsettled batch, joined with those that wait behind it as far as the limit allows.

        Returns None once the queue is closed or finishing.
        """
        while not (self.closed or self.finishing):
            if self.unsettled:
                return self._join_waiting()
            self._changed.clear()
            await self._changed.wait()
        return None

    def _join_waiting(self) -> Batch:
        """Replace the leading batches by one, as group commit does in a database: they share a transaction."""
        first = self.unsettled.popleft()
        joined, records, size_bytes = [first], len(first.records), first.size_bytes
        while self.unsettled:
            records += len(self.unsettled[0].records)
            size_bytes += self.unsettled[0].size_bytes
            if records > self.limit.records or size_bytes > self.limit.size_bytes:
                break
            joined.append(self.unsettled.popleft())
        self.unsettled.appendleft(first if len(joined) == 1 else join(joined))
        return self.unsettled[0]

    def settle(self, batch: Batch) -> None:
        """Remove the first batch. Raises RuntimeError for any other: batches settle in order, one at a time."""
        if self.closed:
            return
        if batch is not self.unsettled[0]:
            raise RuntimeError(f"settled {batch.offset_range} before {self.unsettled[0].offset_range}")
        self.unsettled.popleft()
        self.settled_to = self.stored_to = batch.offset_range.next_offset
        self.size_bytes -= batch.size_bytes
        self.capacity_freed.set()

    def advance(self, position: int) -> None:
        """Record the consumer's position: offsets without records up to it are settled once no batch is unsettled."""
        if not self.unsettled and self.appended_to == self.fetched_to and position > self.fetched_to:
            self.settled_to = position

    def finish(self) -> None:
        """Stop after the batch in flight."""
        self.finishing = True
        self._changed.set()

    def close(self) -> None:
        """Abandon all batches; the one in flight ends at its next `check_open`."""
        self.closed = True
        self.paused = None
        self.unsettled.clear()
        self.capacity_freed.set()
        self._changed.set()


def join(batches: Sequence[Batch]) -> Batch:
    """Return consecutive batches as one that remembers their borders."""
    records = [record for batch in batches for record in batch.records]
    end = batches[-1].offset_range.next_offset
    return replace(
        batches[0],
        records=records,
        offset_range=replace(batches[0].offset_range, next_offset=end, records=len(records)),
        size_bytes=sum(batch.size_bytes for batch in batches),
        borders=[batch.offset_range.next_offset for batch in batches[:-1]],
    )
