"""The partitions that are assigned to this worker: opening and closing their queues, committing their offsets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import aiokafka.structs

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.process.exit import critical_task, exit_fatal
from keepstream.app.telemetry.logging import CURRENT_BATCH
from keepstream.app.worker.consumer_thread import ConsumerThread
from keepstream.app.worker.decompression import DecompressionLimitError
from keepstream.app.worker.instrumentation import LoggingMetrics
from keepstream.app.worker.membership import DuplicateInstanceDetector
from keepstream.app.worker.start_offsets import RETRY_WAIT_S, StartOffsetResolver
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import FetchedRecords
from keepstream.processors.start_offset import CommittedOffset
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.record import Record, TopicPartition
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

log = logging.getLogger(__name__)


class Assignment:
    """Opens and closes partition queues as rebalances assign and revoke partitions. Not thread-safe: use the loop."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        offsets: Mapping[str, PostgresOffsets],
        metrics: PrometheusMetrics,
        settings: KafkaSettings,
    ) -> None:
        self.dispatcher = dispatcher
        self.thread: ConsumerThread | None = None
        self._start_offsets = StartOffsetResolver(offsets, metrics, settings)
        self._metrics = metrics
        self._logging_metrics = {topic: LoggingMetrics(metrics, topic) for topic in offsets}
        self._settings = settings
        self._duplicate_instance = DuplicateInstanceDetector(settings.group_instance_id)
        self._committed: dict[TopicPartition, CommittedOffset] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._without_queue: set[TopicPartition] = set()
        self._answered = False

    def retain(self, tps: Iterable[tuple[str, int]]) -> None:
        """Close every partition that is not in the group's assignment, which may be empty.

        A batch that was fenced during a rebalance has started its partition again, as if it were still assigned.
        """
        assigned = {TopicPartition(*tp) for tp in tps}
        for partition in {*self.dispatcher.partitions, *self._without_queue} - assigned:
            self._close(partition)
        for topic in self._starting.keys() - {topic for topic, _ in self._without_queue}:
            self._starting.pop(topic).cancel()  # it would wait for its database, and then open what is another worker's
            self.refused.pop(topic, None)
        self._metrics.assigned.set(len(self.dispatcher.partitions))
        self._answered |= not assigned

    def start(self, tps: Iterable[tuple[str, int]]) -> None:
        """Open the queues of these partitions in the background, once PostgreSQL and their leaders answer.

        Topics start apart: one whose PostgreSQL does not answer delays no other.
        """
        partitions = {TopicPartition(*tp) for tp in tps}
        self.dispatcher.close(partitions)
        self._without_queue |= partitions
        self._metrics.rebalances.inc()
        for topic in sorted({partition.topic for partition in partitions}):
            if starting := self._starting.get(topic):
                starting.cancel()
            self._starting[topic] = critical_task(self._start(topic), f"start partitions of {topic}")

    def revoke(self, tps: Iterable[tuple[str, int]]) -> None:
        """Close these partitions' queues; unsettled batches are abandoned."""
        if error := self._duplicate_instance.check(self._consumer_thread().member_id):
            exit_fatal(error)
        for tp in tps:
            self._close(TopicPartition(*tp))
        self._metrics.assigned.set(len(self.dispatcher.partitions))

    def _close(self, partition: TopicPartition) -> None:
        self.dispatcher.close([partition])
        self._without_queue.discard(partition)
        self._committed.pop(partition, None)
        self._metrics.partition_gone(*partition)

    def close(self) -> None:
        """Close all queues, and open no other."""
        for starting in self._starting.values():
            starting.cancel()
        self.dispatcher.close(self.dispatcher.partitions)

    def expect(self, tp: tuple[str, int], epoch: int, records: Sequence[Record]) -> FetchedRecords | None:
        """Reserve memory for fetched records; return None when the partition was revoked or sought since."""
        queue = self.dispatcher.for_epoch(TopicPartition(*tp), epoch)
        return queue.expect(records) if queue else None

    def advance(self, tp: tuple[str, int], epoch: int, position: int) -> None:
        if queue := self.dispatcher.for_epoch(TopicPartition(*tp), epoch):
            queue.advance(position)

    def pause_undecodable(self, tp: tuple[str, int], epoch: int, error: Exception) -> None:
        """Pause a partition whose next batch cannot be decoded; again when a pause of another reason has ended."""
        queue = self.dispatcher.for_epoch(TopicPartition(*tp), epoch)
        if queue and not queue.paused:
            queue.paused = Failure(Step.VALIDATE, Verdict.SYSTEMIC, "unreadable_batch", self._explain(error))
            self._logging_metrics[tp[0]].attempt_failed(queue.paused, retried=True)
            self._logging_metrics[tp[0]].paused(*tp, queue.paused)

    def _explain(self, error: Exception) -> str:
        if isinstance(error, DecompressionLimitError):
            return f"the next batch is larger than {self._settings.unpack_max_bytes} bytes when decompressed ({error})"
        return f"the next batch is corrupt ({error}): let another replica lead the partition, then restart the worker"

    def uncommitted(self) -> dict[TopicPartition, CommittedOffset]:
        """Return the settled offsets that are not committed to Kafka yet."""
        first = self._start_offsets.first_offsets
        offsets = {tp: CommittedOffset(offset, first[tp]) for tp, offset in self.dispatcher.settled().items()}
        return {tp: offset for tp, offset in offsets.items() if self._committed.get(tp) != offset}

    def committed(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        self._committed.update(offsets)

    def commit_failed(self, error: BaseException) -> None:
        self._metrics.commit_failures.inc()
        log.warning("offsets were not committed to Kafka (nothing is lost; lag tools show more lag until the next "
                    "attempt): %r", error)  # fmt: skip

    def lags(self) -> Iterator[tuple[str, int, int]]:
        """Yield (topic, partition, unsettled records) for every queue whose log end is known."""
        for partition, settled in self.dispatcher.settled().items():
            end = self._consumer_thread().end_offset(aiokafka.structs.TopicPartition(*partition))
            if end is not None and end >= 0:
                yield *partition, max(0, end - settled)

    async def restart(self, partition: TopicPartition) -> None:
        """Start a partition again from its stored offset, which is not the one that its queue wrote."""
        self._logging_metrics[partition.topic].fenced(*partition)
        self.start([partition])

    @property
    def group_error(self) -> str | None:
        """Return why this worker is not a member of its group; None while it is one, or has not asked to join."""
        return self.thread.group_error if self.thread else None

    @property
    def refused(self) -> dict[str, str]:
        """Return why a topic's partitions are not read, by topic."""
        return self._start_offsets.refused

    @property
    def waiting_topics(self) -> list[str]:
        """Return the topics, where there are several, of which a partition has no queue yet."""
        partitions = [*self._without_queue]  # at once: /readyz asks from another thread
        return sorted({topic for topic, _ in partitions}) if self._start_offsets.has_several_topics else []

    @property
    def delayed(self) -> list[TopicPartition]:
        """Return the assigned partitions that are not read yet because reading their stored offsets failed."""
        return [partition for partition in self._without_queue if partition.topic in self._start_offsets.delayed]

    @property
    def topic_ids(self) -> dict[TopicPartition, str]:
        """Return the topic id, where it is known, that each open partition was started with."""
        ids = {partition: one.topic_id for partition, one in self._start_offsets.incarnations.items()}
        return {partition: topic_id for partition in self.dispatcher.partitions if (topic_id := ids.get(partition))}

    @property
    def ready(self) -> bool:
        """Whether every assigned partition has its queue. A worker without partitions is ready to take over."""
        return self._answered and not self._without_queue

    async def _start(self, topic: str) -> None:
        CURRENT_BATCH.set(None)  # the context may be that of a fenced batch
        while waiting := self._waiting(topic):
            await self._open(topic, waiting)
            if left := self._waiting(topic):
                log.warning("no leader answers for %s; trying again", ", ".join(map("{0[0]}-{0[1]}".format, left)))
                await asyncio.sleep(RETRY_WAIT_S)

    def _waiting(self, topic: str) -> list[TopicPartition]:
        return sorted(partition for partition in self._without_queue if partition.topic == topic)

    async def _open(self, topic: str, partitions: Sequence[TopicPartition]) -> None:
        """Open the queues of those partitions of a topic whose leader answers."""
        thread = self._consumer_thread()
        starts = await self._start_offsets.resolve(thread, partitions)
        if self._starting.get(topic) is not asyncio.current_task():
            raise asyncio.CancelledError  # psycopg can turn that into a lost connection, which `resolve` retries
        assigned = {TopicPartition(*tp) for tp in thread.assignment()}  # one may be revoked
        self._without_queue -= {*self._waiting(topic)} - assigned
        offsets = {tp: start.offset for tp, start in starts.items() if tp in self._without_queue}
        epoch = self.dispatcher.open(offsets, self._start_offsets.incarnations)
        await thread.seek_all({aiokafka.structs.TopicPartition(*tp): offset for tp, offset in offsets.items()}, epoch)
        self._without_queue -= offsets.keys()
        self._answered = True
        self._metrics.assigned.set(len(self.dispatcher.partitions))
        log.info("reading %d partitions", len(self.dispatcher.partitions))

    def _consumer_thread(self) -> ConsumerThread:
        if self.thread is None:
            raise RuntimeError("the consumer thread has not started")
        return self.thread
