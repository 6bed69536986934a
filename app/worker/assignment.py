"""The partitions that this worker owns: opening their queues at stored offsets, closing them, committing offsets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiokafka.structs

from keepstream.app.config.settings import KafkaSettings
from keepstream.app.process.exit import critical_task, exit_fatal
from keepstream.app.telemetry.logging import CURRENT_BATCH
from keepstream.app.worker.consumer_thread import ConsumerThread
from keepstream.app.worker.instrumentation import LoggingMetrics
from keepstream.app.worker.start_offsets import StartOffsetResolver
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import FetchedRecords
from keepstream.schemas.committed_offset import CommittedOffset
from keepstream.schemas.failure import Failure, Step, Verdict
from keepstream.schemas.record import Record, TopicPartition
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.prometheus.metrics import PrometheusMetrics

LIMIT = 5
"""A worker that was suspended, or whose coordinator moved, loses its member id once."""
WITHIN_S = 60.0


@dataclass(slots=True)
class DuplicateInstanceDetector:
    """Detects another worker with the same ``group_instance_id``: the two take the member id from each other."""

    name: str | None
    _lost_at: deque[float] = field(default_factory=lambda: deque(maxlen=LIMIT))

    def check(self, member_id: str, now: float | None = None) -> str | None:
        """Return an error once the member id was lost (is empty) too often.

        Called at each revocation, before this worker joins again: so that only one of the two has to end.
        """
        if self.name is None or member_id:
            return None
        now = time.monotonic() if now is None else now
        self._lost_at.append(now)
        if len(self._lost_at) < LIMIT or now - self._lost_at[0] > WITHIN_S:
            return None
        return (f"another worker goes by the group_instance_id {self.name!r}: it put this one out of the group "
                f"{LIMIT} times in {now - self._lost_at[0]:.0f} s; give each a KEEPSTREAM_KAFKA__GROUP_INSTANCE_ID of "
                "its own")  # fmt: skip


log = logging.getLogger(__name__)


class Assignment:
    """Opens and closes partition queues as Faust's rebalances assign and revoke partitions.

    Lives on the worker's event loop.
    """

    def __init__(
        self, dispatcher: Dispatcher, offsets: PostgresOffsets, metrics: PrometheusMetrics, settings: KafkaSettings
    ) -> None:
        self.dispatcher = dispatcher
        self.thread: ConsumerThread | None = None
        self._start_offsets = StartOffsetResolver(offsets, metrics, settings)
        self._metrics = metrics
        self._logging_metrics = LoggingMetrics(metrics)
        self._settings = settings
        self._duplicate_instance = DuplicateInstanceDetector(settings.group_instance_id)
        self._committed: dict[TopicPartition, CommittedOffset] = {}
        self._starting: asyncio.Task[None] | None = None
        self._without_queue: set[TopicPartition] = set()
        self._answered = False

    def retain(self, tps: Iterable[Any]) -> None:
        """Close every partition that is not among these: the group's assignment, which may be empty.

        A batch that is fenced during a rebalance has started its partition again, as if it were still assigned.
        """
        assigned = {TopicPartition(tp.topic, tp.partition) for tp in tps}
        for partition in {*self.dispatcher.partitions, *self._without_queue} - assigned:
            self._close(partition)
        self._metrics.assigned.set(len(self.dispatcher.partitions))
        self._answered |= not assigned

    def start(self, tps: Iterable[Any]) -> None:
        """Open the queues of these partitions in the background, however long PostgreSQL takes to answer."""
        partitions = {TopicPartition(tp.topic, tp.partition) for tp in tps}
        self.dispatcher.close(partitions)
        self._without_queue |= partitions
        if self._starting is not None:
            self._starting.cancel()
        self._starting = critical_task(self._start(), "start partitions")

    def revoke(self, tps: Iterable[Any]) -> None:
        """Close these partitions' queues; unsettled batches are abandoned."""
        if error := self._duplicate_instance.check(self._consumer_thread().member_id):
            exit_fatal(error)
        for tp in tps:
            self._close(TopicPartition(tp.topic, tp.partition))
        self._metrics.assigned.set(len(self.dispatcher.partitions))

    def _close(self, partition: TopicPartition) -> None:
        self.dispatcher.close([partition])
        self._without_queue.discard(partition)
        self._committed.pop(partition, None)
        self._metrics.partition_gone(*partition)

    def close(self) -> None:
        """Close all queues: the worker ends."""
        if self._starting is not None:
            self._starting.cancel()
        self.dispatcher.close(self.dispatcher.partitions)

    def expect(self, tp: Any, epoch: int, records: Sequence[Record]) -> FetchedRecords | None:  # noqa: ANN401
        """Reserve memory for fetched records; return None when the partition was revoked or sought elsewhere since."""
        queue = self.dispatcher.for_epoch(TopicPartition(tp.topic, tp.partition), epoch)
        return queue.expect(records) if queue else None

    def advance(self, tp: Any, epoch: int, position: int) -> None:  # noqa: ANN401
        if queue := self.dispatcher.for_epoch(TopicPartition(tp.topic, tp.partition), epoch):
            queue.advance(position)

    def pause_undecodable(self, tp: Any, epoch: int, error: Exception) -> None:  # noqa: ANN401
        """Pause a partition whose next batch cannot be decoded; again when a pause of another reason has ended."""
        queue = self.dispatcher.for_epoch(TopicPartition(tp.topic, tp.partition), epoch)
        if queue and not queue.paused:
            why = f"the next batch does not unpack within {self._settings.unpack_max_bytes} bytes ({error})"
            queue.paused = Failure(Step.VALIDATE, Verdict.SYSTEMIC, "unreadable_batch", why)
            self._logging_metrics.attempt_failed(queue.paused, retried=True)
            self._logging_metrics.paused(tp.topic, tp.partition, queue.paused)

    def uncommitted(self) -> dict[TopicPartition, CommittedOffset]:
        """Return the settled offsets that are not committed to Kafka yet."""
        first = self._start_offsets.first_offsets
        offsets = {tp: CommittedOffset(offset, first[tp]) for tp, offset in self.dispatcher.settled().items()}
        return {tp: offset for tp, offset in offsets.items() if self._committed.get(tp) != offset}

    def committed(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        self._committed.update(offsets)

    def commit_failed(self, error: BaseException) -> None:
        self._metrics.commit_failures.inc()
        log.warning("offsets were not committed to Kafka (nothing is lost, lag tools look behind; tried again): %r",
                    error)  # fmt: skip

    def lags(self) -> Iterator[tuple[str, int, int]]:
        """Yield (topic, partition, records still to settle) for every queue whose log end is known."""
        for partition, settled in self.dispatcher.settled().items():
            end = self._consumer_thread().end_offset(aiokafka.structs.TopicPartition(*partition))
            if end is not None and end >= 0:
                yield *partition, max(0, end - settled)

    async def restart(self, partition: TopicPartition) -> None:
        """Start a partition again from its stored offset, which is not where its queue left it."""
        self._logging_metrics.fenced(*partition)
        self.start([partition])

    @property
    def ready(self) -> bool:
        """Whether every assigned partition has its queue. A worker without partitions is ready to take over."""
        return self._answered and not self._without_queue

    async def _start(self) -> None:
        CURRENT_BATCH.set(None)  # the context may be that of a fenced batch
        thread = self._consumer_thread()
        starts = await self._start_offsets.resolve(thread, sorted(self._without_queue))
        if self._starting is not asyncio.current_task():
            return  # cancelled: psycopg can turn that into a lost connection, which `resolve` retries
        assigned = self._without_queue & {
            TopicPartition(tp.topic, tp.partition) for tp in thread.assignment()
        }  # one may be revoked
        starts = {partition: start for partition, start in starts.items() if partition in assigned}
        fences = {partition: start.fence for partition, start in starts.items()}
        epoch = self.dispatcher.open(fences, self._start_offsets.incarnations)
        await thread.seek_all(
            {aiokafka.structs.TopicPartition(*tp): start.offset for tp, start in starts.items()}, epoch
        )
        self._without_queue.clear()
        self._answered = True
        self._metrics.rebalances.inc()
        self._metrics.assigned.set(len(self.dispatcher.partitions))
        log.info("reading %d partitions", len(self.dispatcher.partitions))

    def _consumer_thread(self) -> ConsumerThread:
        if self.thread is None:
            raise RuntimeError("the consumer thread has not started")
        return self.thread
