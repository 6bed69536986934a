"""The topics, their group, and what one worker sees of them."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from keepstream.app.worker.consumer_thread import ConsumerThread
from keepstream.processors.start_offset import CommittedOffset
from keepstream.schemas.record import KafkaRecord
from tests.builders import RECORD_TIMESTAMP_MS, make_record
from tests.simulation.coordinator import Coordinator
from tests.simulation.faults import Fault, Faults

_OFFSET = attrgetter("offset")


@dataclass(slots=True)
class PartitionLog:
    """One partition. ``records`` are all that ever were; those before ``start`` are deleted."""

    number: int
    records: list[KafkaRecord] = field(default_factory=list)
    start: int = 0
    end: int = 0
    unread: set[int] = field(default_factory=set)
    """Offsets that were deleted before they were settled."""
    former: list[PartitionLog] = field(default_factory=list)
    """The logs of the topics of this name before."""

    def between(self, begin: int, end: int) -> Sequence[KafkaRecord]:
        """Return what ever was between these offsets."""
        first = bisect_left(self.records, begin, key=_OFFSET)
        return self.records[first : bisect_left(self.records, end, first, key=_OFFSET)]

    def owed(self, begin: int) -> list[KafkaRecord]:
        """Return what has to be settled from here on: what is there, and was not deleted unread."""
        return [record for record in self.between(begin, self.end) if record.offset not in self.unread]


@dataclass(slots=True)
class Log:
    """A topic, and the offsets that the group has committed."""

    topic: str
    rng: random.Random
    faults: Faults
    partitions: list[PartitionLog]
    committed: dict[int, CommittedOffset] = field(default_factory=dict)
    readers: list[Callable[[], object]] = field(default_factory=list)
    """Called whenever something was appended."""
    recreations: int = 0

    @property
    def topic_id(self) -> str:
        return f"id-{self.recreations}"

    def recreate(self) -> None:
        """Delete the topic and create another one of the same name: the group's offsets go with the first."""
        self.recreations += 1
        self.committed.clear()
        for number, log in enumerate(self.partitions):
            self.partitions[number] = PartitionLog(number, former=[*log.former, log])

    def append(self, partition: int, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> None:
        log = self.partitions[partition]
        log.end += self._hole()
        written_at = RECORD_TIMESTAMP_MS + self.recreations  # tells records of equal offsets apart
        record = make_record(
            value, log.end, topic=self.topic, partition=partition, headers=headers, timestamp=written_at
        )
        log.records.append(record)
        log.end += 1 + self._hole()
        for wake in self.readers:
            wake()

    def _hole(self) -> int:
        return self.rng.randint(1, 2) if self.faults.strikes(Fault.HOLE) else 0


class Bounds(NamedTuple):
    """As `keepstream.app.worker.consumer_thread.LogBounds`."""

    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    committed: Mapping[TopicPartition, CommittedOffset]
    topic_ids: Mapping[str, str] = MappingProxyType({})


class Fetched(NamedTuple):
    """As `keepstream.app.worker.consumer_thread.Fetched`."""

    epoch: int
    position: int
    records: Sequence[KafkaRecord]


@dataclass(slots=True)
class Consumer:
    """`ConsumerThread` of one worker: its view of the group may be older than the group's."""

    logs: Mapping[str, Log]
    """By topic."""
    rng: random.Random
    may_commit: Callable[[TopicPartition], bool]
    commit_check: Callable[[TopicPartition, int], None]
    wake: Callable[[], object]
    _consumer: Coordinator.Client
    assigned: set[TopicPartition] = field(default_factory=set)
    member_id: str = "simulated"
    _positions: dict[TopicPartition, int] = field(default_factory=dict)
    _epochs: dict[TopicPartition, int] = field(default_factory=dict)
    _late_error: OffsetLostError | None = None
    _refusal: KafkaError | None = None

    @property
    def group_error(self) -> str | None:
        """As the product says it of aiokafka's coordinator."""
        return cast("property", ConsumerThread.group_error).fget(self)  # type: ignore[misc, no-any-return]

    def _ensure_consumer(self) -> Coordinator.Client:
        return self._consumer

    def assign(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Take these partitions; until a seek they are read from where the group committed, as aiokafka does."""
        self.assigned = {TopicPartition(*tp) for tp in partitions}
        self._positions = {tp: committed.offset for tp in self.assigned if (committed := self._committed(tp))}

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def log_bounds(self, places: Sequence[TopicPartition]) -> Bounds:
        await self._travel()
        topic_ids = {tp.topic: self.logs[tp.topic].topic_id for tp in places}
        await self._travel()
        logs = {tp: self._log(tp) for tp in places}
        starts, ends = {tp: log.start for tp, log in logs.items()}, {tp: log.end for tp, log in logs.items()}
        await self._travel()
        committed = {tp: at for tp in places if (at := self._committed(tp))}
        await self._travel()
        return Bounds(starts, ends, committed, topic_ids)

    async def seek_all(self, offsets: Mapping[TopicPartition, int], epoch: int) -> None:
        await self._travel()
        for tp, offset in offsets.items():
            if tp in self.assigned:
                self._positions[tp], self._epochs[tp] = offset, epoch
        self.wake()
        await self._travel()

    async def fetch(self, places: set[TopicPartition]) -> dict[TopicPartition, Fetched]:
        """Answer at once, be it with nothing. Records, epochs and positions are of the same moment.

        Raises OffsetLostError for the first lost partition; with the next call where others have records: they would
        be lost with the error.
        """
        await self._travel()
        if late := self._late_error:
            self._late_error = None
            raise late
        found = {}
        read = {tp: self._records(tp) for tp in sorted(self._positions) if tp in places}
        lost = [tp for tp, records in read.items() if records is None]
        if lost:
            self._late_error = OffsetLostError(lost[0])
            if not any(read.values()):
                return await self.fetch(places)
        for tp in sorted(self._positions):
            position, records = self._positions[tp], read.get(tp) or ()
            if records:
                position = self._read_to(tp, records)
            found[tp] = Fetched(self._epochs.get(tp, 0), position, records)
        await self._travel()
        return found

    def _records(self, tp: TopicPartition) -> Sequence[KafkaRecord] | None:
        """Return a few records, or None where the position is lost."""
        log = self._log(tp)
        if not log.start <= self._positions[tp] <= log.end:  # auto_offset_reset is "none": whoever reads begins again
            return None
        return log.between(self._positions[tp], log.end)[: self.rng.randint(1, 8)]

    def _read_to(self, tp: TopicPartition, records: Sequence[KafkaRecord]) -> int:
        log = self._log(tp)
        is_last = records[-1] is log.records[-1]
        self._positions[tp] = position = log.end if is_last else records[-1].offset + 1
        return position

    async def commit_settled(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        await self._travel()
        for tp, offset in offsets.items():
            if tp in self.assigned:
                log = self.logs[tp.topic]
                if log.faults.strikes(Fault.COMMIT_REFUSED) or not self.may_commit(tp):
                    raise KafkaError
                self.commit_check(tp, offset.offset)
                log.committed[tp.partition] = offset
        await self._travel()

    def end_offset(self, tp: TopicPartition) -> int | None:
        return self._log(tp).end

    def _log(self, tp: TopicPartition) -> PartitionLog:
        partition: int = tp.partition
        return self.logs[tp.topic].partitions[partition]

    def _committed(self, tp: TopicPartition) -> CommittedOffset | None:
        return self.logs[tp.topic].committed.get(tp.partition)

    async def _travel(self) -> None:
        """Between the threads, and to the broker and back."""
        luck = self.rng.random()
        if luck > 0.5:
            await asyncio.sleep(0 if luck < 0.7 else luck * 0.05)


class OffsetLostError(Exception):
    """The position is not in the log any more. As aiokafka's OffsetOutOfRangeError."""

    def __init__(self, tp: TopicPartition) -> None:
        super().__init__(tp)
        self.tp = tp
