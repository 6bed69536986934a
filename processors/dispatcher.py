"""The partition queues of a worker: opening, processing, committing and draining them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from keepstream.processors.partition_queue import (
    ONE_BATCH,
    Batch,
    FetchedRecords,
    PartitionQueue,
    PartitionRevokedError,
    TransactionLimit,
)
from keepstream.schemas.failure import Failure, FencedError
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Incarnation, TopicPartition

MIN_QUEUE_BYTES = 256 * 1024


class Dispatcher:
    """Runs one queue and one task per assigned partition.

    ``recover`` is awaited for each queue before its first batch: it publishes dead letters left in the outbox.
    ``buffer_bytes`` bounds the memory of all queues together, ``limit`` each transaction. ``on_fenced`` is called with
    a partition whose stored offset was moved by another worker; ``on_fatal`` with an unexpected error, and must end the
    process.
    """

    def __init__(
        self,
        process: Callable[[Batch], Awaitable[OutcomeCounts]],
        *,
        recover: Callable[[PartitionQueue], Awaitable[None]],
        buffer_bytes: int,
        on_fenced: Callable[[TopicPartition], Awaitable[None]],
        on_fatal: Callable[[BaseException], None],
        limit: TransactionLimit = ONE_BATCH,
    ) -> None:
        self._process = process
        self._recover = recover
        self._buffer_bytes = buffer_bytes
        self._on_fenced = on_fenced
        self._on_fatal = on_fatal
        self._limit = limit
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._draining = False
        self._epoch = 0
        self.capacity_freed = asyncio.Event()

    @property
    def partitions(self) -> list[TopicPartition]:
        return list(self._queues)

    @property
    def queues(self) -> list[PartitionQueue]:
        return list(self._queues.values())

    @property
    def paused(self) -> dict[TopicPartition, Failure]:
        """Return the failure of each paused partition."""
        return {TopicPartition(queue.topic, queue.partition): queue.paused for queue in self.queues if queue.paused}

    def for_epoch(self, partition: TopicPartition, epoch: int) -> PartitionQueue | None:
        """Return the open queue of a partition; None when it was opened by another seek than that of this epoch."""
        queue = self._queues.get(partition)
        return queue if queue and queue.epoch == epoch else None

    def append(self, fetched: FetchedRecords) -> None:
        """Append fetched records to their queue; drop them when the partition was revoked or sought since."""
        if queue := self.for_epoch(TopicPartition(fetched.topic, fetched.partition), fetched.epoch):
            try:
                queue.append(fetched)
            except RuntimeError as error:
                self._on_fatal(error)

    def open(
        self, starts: Mapping[TopicPartition, int], incarnations: Mapping[TopicPartition, Incarnation] | None = None
    ) -> int:
        """Open queues at these offsets and close those before; return the epoch of the seek that has to follow."""
        self.close(starts)
        self._epoch += 1
        for partition, offset in starts.items():
            incarnation = (incarnations or {}).get(partition, Incarnation())
            queue = PartitionQueue(
                *partition, offset, self._epoch, self.capacity_freed, *incarnation, limit=self._limit
            )
            self._queues[partition] = queue
            task = asyncio.create_task(self._work(queue), name=task_name(partition))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._epoch

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in list(partitions):
            if queue := self._queues.pop(partition, None):
                queue.close()

    def below_capacity(self) -> list[TopicPartition]:
        """Return the partitions that may be fetched: a full queue stops the fetch of its own partition only."""
        if self._draining:
            return []
        share = max(MIN_QUEUE_BYTES, self._buffer_bytes // max(1, len(self._queues)))
        return [partition for partition, queue in self._queues.items() if queue.size_bytes < share]

    def settled(self) -> dict[TopicPartition, int]:
        """Return the offset up to which each partition is settled."""
        return {partition: queue.settled_to for partition, queue in self._queues.items()}

    async def drain(self, timeout_s: float) -> bool:
        """Wait for the batches in flight, and start no other. Return False when the timeout came first."""
        self._draining = True
        for queue in self._queues.values():
            queue.finish()
        try:
            async with asyncio.timeout(timeout_s):
                while self._busy:
                    self.capacity_freed.clear()
                    await self.capacity_freed.wait()
        except TimeoutError:
            return False
        return True

    async def _work(self, queue: PartitionQueue) -> None:
        try:
            await self._recover(queue)
            queue.recovered = True
            while batch := await queue.next_batch():
                self._busy += 1
                try:
                    await self._process(batch)
                    queue.settle(batch)
                finally:
                    self._busy -= 1
                    self.capacity_freed.set()
        except PartitionRevokedError:
            return
        except FencedError:
            if not queue.closed:
                await self._on_fenced(TopicPartition(queue.topic, queue.partition))
        except BaseException as error:  # noqa: BLE001 - Faust would continue (traps T1-T4)
            if not isinstance(error, asyncio.CancelledError):
                self._on_fatal(error)


def task_name(partition: TopicPartition) -> str:
    """Name the task that processes a partition's batches."""
    return f"partition queue {partition.topic}-{partition.partition}"
