"""Where lanes begin: what PostgreSQL, Kafka and this worker know of a partition, held against each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiokafka.structs
import psycopg
from aiokafka.errors import KafkaError
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.process.exit import die
from keepstream.app.worker.consumer_thread import ConsumerThread, LogBounds
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.start_offset import StartOffset, StartReason, decide_start_offset
from keepstream.schemas.committed_offset import CommittedOffset
from keepstream.schemas.record import TopicPartition
from keepstream.sinks.postgres.offsets import PostgresOffsets, StoredOffset
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = logging.getLogger(__name__)
T = TypeVar("T")
RETRY_WAIT_S = 1.0
NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


class StartOffsetResolver:
    """Finds starts and writes them down. ``began_at`` is where each partition once began, as far as this worker knows.

    It goes to Kafka beside the offsets, and outlives what PostgreSQL forgets.
    """

    def __init__(self, offsets: PostgresOffsets, metrics: PrometheusMetrics, settings: KafkaSettings) -> None:
        self.began_at: dict[TopicPartition, int] = {}
        self._offsets = offsets
        self._metrics = metrics
        self._settings = settings

    async def starts(
        self, thread: ConsumerThread, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, StartOffset]:
        """Return where these places begin, however long PostgreSQL and Kafka take to answer."""
        while True:
            try:
                return await self._decide(thread, places)
            except (psycopg.Error, PoolTimeout, KafkaError) as error:
                hint = "; run `keepstream db migrate`" if isinstance(error, NOT_MIGRATED) else ""
                log.warning("the stored offsets cannot be read yet (%s)%s", type(error).__name__, hint)
                await asyncio.sleep(RETRY_WAIT_S)

    async def _decide(
        self, thread: ConsumerThread, places: Sequence[TopicPartition]
    ) -> dict[TopicPartition, StartOffset]:
        # What is stored comes first: the former owner may still be at work, and an end of the log that was read before
        # it settled more would make the topic look re-created.
        stored: dict[TopicPartition, StoredOffset] = {}
        known_ids: dict[TopicPartition, str] = {}
        for topic in {topic for topic, _ in places}:
            partitions = [partition for t, partition in places if t == topic]
            stored |= _placed(topic, await self._offsets.load(topic, partitions))
            known_ids |= _placed(topic, await self._offsets.load_topic_ids(topic, partitions))
        bounds = await thread.log_bounds([aiokafka.structs.TopicPartition(*place) for place in places])
        starts = {}
        for place in places:
            topic_id, known_id = bounds.topic_ids.get(place[0]), known_ids.get(place)
            is_other_topic = topic_id is not None and known_id is not None and known_id != topic_id
            start = self._start_of(place, stored.get(place), bounds, is_other_topic=is_other_topic)
            await self._record(place, start, stored.get(place))
            self.began_at[place] = _began_at(start, stored.get(place))
            if topic_id is not None and topic_id != known_id:
                await self._offsets.identify(*place, topic_id)
            starts[place] = start
        return starts

    def _start_of(
        self, place: TopicPartition, stored: StoredOffset | None, bounds: LogBounds, *, is_other_topic: bool
    ) -> StartOffset:
        tp = aiokafka.structs.TopicPartition(*place)
        return decide_start_offset(
            stored.next_offset if stored else None, self._known_of(place, bounds.committed.get(tp)),
            bounds.starts[tp], bounds.ends[tp],
            is_other_topic=is_other_topic, reset_to_end=self._settings.auto_offset_reset == "latest",
        )  # fmt: skip

    def _known_of(self, place: TopicPartition, committed: CommittedOffset | None) -> CommittedOffset | None:
        """Add what this worker knows itself: it may have begun a partition that neither side tells of any more."""
        if place in self.began_at and (committed is None or committed.first_offset is None):
            return CommittedOffset(self.began_at[place], self.began_at[place])
        return committed

    async def _record(self, place: TopicPartition, start: StartOffset, at: StoredOffset | None) -> None:
        """Make the table agree with the decision, and say aloud what is not ordinary."""
        stored = at.next_offset if at else None
        if (start.lost or start.reason is StartReason.RECREATED) and self._settings.on_gap == "stop":
            missing = start.fence if stored is None else stored
            die(f"{place[0]}-{place[1]} no longer holds the stored offset {missing}, but begins at {start.offset} "
                f"({start.reason}); KEEPSTREAM_KAFKA__ON_GAP=continue reads what is left")  # fmt: skip
        if stored is None:
            if start.reason is StartReason.FORGOTTEN:
                log.error("%s-%d was consumed before, but PostgreSQL knows nothing of it (failover, backup, another "
                          "database?); reading it again from %d, where it began", *place, start.fence)  # fmt: skip
            await self._offsets.open(*place, start.fence)
        elif start.reason is StartReason.RECREATED:
            log.error("%s-%d was re-created or truncated, the stored offset %d is not of this log; reading it from its "
                      "start, known events count as duplicates", *place, stored)  # fmt: skip
            await self._offsets.rewind(*place, expected_offset=stored, next_offset=start.fence)
        if start.lost:
            log.error("%s-%d: retention deleted %d records that are not in PostgreSQL", *place, start.lost)
            self._metrics.offset_gaps.labels(place[0]).inc(start.lost)


def _began_at(start: StartOffset, stored: StoredOffset | None) -> int:
    return start.fence if stored is None or start.reason is StartReason.RECREATED else stored.first_offset


def _placed(topic: str, by_partition: Mapping[int, T]) -> dict[TopicPartition, T]:
    return {TopicPartition(topic, partition): value for partition, value in by_partition.items()}


CHECK_S = 2.0


@dataclass(frozen=True, slots=True)
class OffsetRegressionMonitor:
    """``on_rewound`` is called with each place whose stored offset lies before what its lane has settled."""

    lanes: Dispatcher
    offsets: PostgresOffsets
    on_rewound: Callable[[TopicPartition], Awaitable[None]]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check()
            except (psycopg.Error, PoolTimeout, PoolClosed):
                continue  # while PostgreSQL is away there is nothing to compare with

    async def check(self) -> None:
        """Compare once. What is stored is read after what is settled was noted, so it can only be further on."""
        noted = [(lane, lane.stored_to) for lane in self.lanes.all()]
        for topic in {lane.topic for lane, _ in noted}:
            stored = await self.offsets.peek(topic)
            for lane, stored_to in noted:
                if lane.topic == topic and stored.get(lane.partition, 0) < stored_to:
                    await self._rewound(lane, stored_to, stored.get(lane.partition, 0))

    async def _rewound(self, lane: PartitionQueue, settled: int, stored: int) -> None:
        if not lane.closed:
            log.error("%s-%d: PostgreSQL went back from offset %d to %d; what lies between is read again",
                      lane.topic, lane.partition, settled, stored)  # fmt: skip
            await self.on_rewound(TopicPartition(lane.topic, lane.partition))
