"""Resolving start offsets from PostgreSQL, Kafka and this worker, and monitoring that they stay true."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import aiokafka.structs
import psycopg
from aiokafka.errors import KafkaError
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.process.exit import exit_fatal
from keepstream.app.worker.consumer_thread import ConsumerThread, LogBounds
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import PartitionQueue
from keepstream.processors.start_offset import CommittedOffset, StartOffset, StartReason, decide_start_offset
from keepstream.schemas.record import Incarnation, TopicPartition
from keepstream.sinks.postgres.offsets import PostgresOffsets, RefusedTopicError, StoredOffset
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = logging.getLogger(__name__)
RETRY_WAIT_S = 1.0
REFUSED_WAIT_S = 10.0
NOT_MIGRATED = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)


class RewoundElsewhereError(Exception):
    """Raised when another worker has found the same topic re-created meanwhile: what was read of it is out of date."""


class StartOffsetResolver:
    """Resolves start offsets and stores them in PostgreSQL.

    ``first_offsets`` are keepstream's first offsets of the partitions, as far as this worker knows them. They are
    committed to Kafka beside the offsets, for the case that PostgreSQL loses them. ``incarnations`` are those of the
    topics that the partitions were started with. ``refused`` is why a topic is not read, ``delayed`` are the topics
    whose last attempt failed. ``offsets`` are the tables by topic.
    """

    def __init__(
        self, offsets: Mapping[str, PostgresOffsets], metrics: PrometheusMetrics, settings: KafkaSettings
    ) -> None:
        self.first_offsets: dict[TopicPartition, int] = {}
        self.incarnations: dict[TopicPartition, Incarnation] = {}
        self.refused: dict[str, str] = {}
        self.delayed: set[str] = set()
        self._offsets = offsets
        self._metrics = metrics
        self._settings = settings

    @property
    def has_several_topics(self) -> bool:
        return len(self._offsets) > 1

    async def resolve(
        self, thread: ConsumerThread, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, StartOffset]:
        """Return start offsets once PostgreSQL and Kafka answer; without the partitions whose leader does not.

        The partitions are of one topic.
        """
        topic = partitions[0].topic
        while True:
            try:
                starts = await self._decide(thread, partitions)
            except (psycopg.Error, PoolTimeout, KafkaError) as error:
                self.delayed.add(topic)
                hint = "; run `keepstream db migrate`" if isinstance(error, NOT_MIGRATED) else ""
                log.warning("cannot read the stored offsets of %s yet (%s)%s",
                            topic, type(error).__name__, hint)  # fmt: skip
                await asyncio.sleep(RETRY_WAIT_S)
            except RewoundElsewhereError:
                await asyncio.sleep(RETRY_WAIT_S)
            except RefusedTopicError as error:
                log.error("%s", error)  # noqa: TRY400 - the traceback says nothing more
                self.refused[topic] = str(error)
                self.delayed.add(topic)
                await asyncio.sleep(REFUSED_WAIT_S)
            else:
                self.delayed.discard(topic)
                self.refused.pop(topic, None)
                return starts

    async def _decide(
        self, thread: ConsumerThread, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, StartOffset]:
        # The stored offsets are read first: the former owner may still be settling, and a log end that was read before
        # it settled more would make the topic look re-created.
        topic = partitions[0].topic
        stored = await self._offsets[topic].load(topic, [number for _, number in partitions])
        bounds = await thread.log_bounds([aiokafka.structs.TopicPartition(*partition) for partition in partitions])
        starts = {}
        for partition in (TopicPartition(*tp) for tp in bounds.starts):
            topic_id, at = bounds.topic_ids.get(topic), stored.get(partition.partition)
            self._forget_other_topic(partition, topic_id)
            start = self._start_of(partition, at, bounds, topic_id)
            await self._record(partition, start, at, topic_id)
            self.first_offsets[partition] = _first_offset(start, at)
            self.incarnations[partition] = _incarnation(start, at, topic_id)
            starts[partition] = start
        return starts

    def _forget_other_topic(self, partition: TopicPartition, topic_id: str | None) -> None:
        """Forget the first offset of another topic that had this name: in this one it may be past the end."""
        if partition in self.incarnations and _is_other_topic(self.incarnations[partition].topic_id, topic_id):
            del self.first_offsets[partition], self.incarnations[partition]

    def _start_of(
        self, partition: TopicPartition, stored: StoredOffset | None, bounds: LogBounds, topic_id: str | None
    ) -> StartOffset:
        tp = aiokafka.structs.TopicPartition(*partition)
        return decide_start_offset(
            stored.next_offset if stored else None, self._known_offset(partition, bounds.committed.get(tp)),
            bounds.starts[tp], bounds.ends[tp],
            is_other_topic=stored is not None and _is_other_topic(stored.incarnation.topic_id, topic_id),
            reset_to_end=self._settings.auto_offset_reset == "latest",
        )  # fmt: skip

    def _known_offset(self, partition: TopicPartition, committed: CommittedOffset | None) -> CommittedOffset | None:
        """Return the committed offset, else this worker's own first offset: PostgreSQL and Kafka may both lose it."""
        if partition in self.first_offsets and (committed is None or committed.first_offset is None):
            return CommittedOffset(self.first_offsets[partition], self.first_offsets[partition])
        return committed

    async def _record(
        self, partition: TopicPartition, start: StartOffset, at: StoredOffset | None, topic_id: str | None
    ) -> None:
        """Store the start offset, and log what is not ordinary."""
        offsets = self._offsets[partition.topic]
        stored, first = at.next_offset if at else None, start.offset - start.lost
        if (start.lost or start.reason is StartReason.RECREATED) and self._settings.on_gap == "stop":
            missing = first if stored is None else stored
            exit_fatal(f"{partition[0]}-{partition[1]} no longer has the stored offset {missing}, but begins at "
                f"{start.offset} ({start.reason}); KEEPSTREAM_KAFKA__ON_GAP=continue reads what is left")  # fmt: skip
        if stored is None:
            if start.reason is StartReason.FORGOTTEN:
                log.error("%s-%d was consumed before, but PostgreSQL has no offset of it (failover, backup, another "
                          "database?); reading it again from its first offset %d", *partition, first)  # fmt: skip
            await offsets.open(*partition, first, topic_id)
        elif start.reason is StartReason.RECREATED:
            log.error("%s-%d was re-created or truncated, the stored offset %d is of another log; reading it from its "
                      "start, known events count as duplicates", *partition, stored)  # fmt: skip
            if at and not await offsets.rewind(*partition, at.incarnation, start.offset, topic_id):
                raise RewoundElsewhereError
        elif at and at.incarnation.topic_id is None and topic_id is not None:
            await offsets.set_topic_id(*partition, topic_id)
        incarnation = _incarnation(start, at, topic_id)
        if start.lost and await offsets.skip_gap(*partition, incarnation, first, next_offset=start.offset):
            log.error("%s-%d: retention deleted %d records that are not in PostgreSQL", *partition, start.lost)
            self._metrics.offset_gaps.labels(partition[0]).inc(start.lost)


def _first_offset(start: StartOffset, stored: StoredOffset | None) -> int:
    if stored is None or start.reason is StartReason.RECREATED:
        return start.offset - start.lost
    return stored.first_offset


def _incarnation(start: StartOffset, stored: StoredOffset | None, topic_id: str | None) -> Incarnation:
    """Return what the row of the partition holds once the start offset is stored."""
    known = stored.incarnation if stored else Incarnation()
    return Incarnation(known.number + (start.reason is StartReason.RECREATED), topic_id or known.topic_id)


def _is_other_topic(known_id: str | None, topic_id: str | None) -> bool:
    return known_id is not None and topic_id is not None and known_id != topic_id


CHECK_S = 2.0
TOPIC_ID_CHECK_S = 3.0


@dataclass(frozen=True, slots=True)
class OffsetRegressionMonitor:
    """Detects that PostgreSQL lost commits: calls ``on_regression`` for each partition that went back."""

    dispatcher: Dispatcher
    offsets: Mapping[str, PostgresOffsets]
    """The tables by topic."""
    on_regression: Callable[[TopicPartition], Awaitable[None]]

    async def run(self) -> None:
        """Compare again and again, each topic by itself: one whose PostgreSQL does not answer delays no other."""
        await asyncio.gather(*map(self._watch, self.offsets))

    async def _watch(self, topic: str) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            await self.check(topic)

    async def check(self, topic: str) -> None:
        """Compare a topic once."""
        # The table is read after the queues, so its offsets can only be further on.
        expected = [(one, one.stored_to) for one in self.dispatcher.queues if one.topic == topic and one.recovered]
        try:
            stored = await self.offsets[topic].peek(topic) if expected else {}
        except (psycopg.Error, PoolTimeout, PoolClosed):
            return  # without PostgreSQL there is nothing to compare with
        for queue, stored_to in expected:
            incarnation, offset = stored.get(queue.partition, (0, 0))
            if (incarnation, offset) < (queue.incarnation, stored_to):
                await self._restart(queue, stored_to, offset)

    async def _restart(self, queue: PartitionQueue, settled: int, stored: int) -> None:
        if not queue.closed:
            log.error("%s-%d: PostgreSQL went back from offset %d to %d; the records between are read again",
                      queue.topic, queue.partition, settled, stored)  # fmt: skip
            await self.on_regression(TopicPartition(queue.topic, queue.partition))


@dataclass(frozen=True, slots=True)
class RecreatedTopicMonitor:
    """Detects a topic that was re-created while the worker runs: calls ``on_recreated`` with its partitions.

    The consumer fetches by name, and continues in a new log that has grown past its position without an error: the
    records before would be lost. ``known_ids`` returns the topic id that each partition was started with; ``read_ids``
    asks the cluster for the ids of topics, and blocks.
    """

    known_ids: Callable[[], Mapping[TopicPartition, str]]
    read_ids: Callable[[Collection[str]], Mapping[str, str]]
    on_recreated: Callable[[Collection[TopicPartition]], None]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TOPIC_ID_CHECK_S)
            await self.check()

    async def check(self) -> None:
        """Compare once."""
        known = self.known_ids()
        ids = await asyncio.to_thread(self.read_ids, {tp.topic for tp in known}) if known else {}
        recreated = [tp for tp, topic_id in known.items() if ids.get(tp.topic, topic_id) != topic_id]
        if recreated:
            self.on_recreated(recreated)
