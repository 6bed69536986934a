"""The queues of all partitions that a worker owns: fetching, processing, committing and draining."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from keepstream.processors.partition_queue import Batch, FetchedRecords, PartitionQueue, PartitionRevokedError
from keepstream.schemas.failure import Failure, FencedError
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import TopicPartition

MIN_QUEUE_BYTES = 256 * 1024


class Dispatcher:
    """One queue and one task per assigned partition.

    ``recover`` is awaited for each queue before its first batch, and finishes what was left of the partition.
    ``buffer_bytes`` bounds the memory of all queues together. ``on_fenced`` is called with a partition whose stored
    offset another worker moved; ``on_fatal`` with an unexpected error, and must end the process.
    """

    def __init__(
        self,
        process: Callable[[Batch], Awaitable[OutcomeCounts]],
        *,
        recover: Callable[[PartitionQueue], Awaitable[None]],
        buffer_bytes: int,
        on_fenced: Callable[[TopicPartition], Awaitable[None]],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._process = process
        self._recover = recover
        self._buffer_bytes = buffer_bytes
        self._on_fenced = on_fenced
        self._on_fatal = on_fatal
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._draining = False
        self._epoch = 0
        self.capacity_freed = asyncio.Event()

    def __contains__(self, partition: object) -> bool:
        return partition in self._queues

    @property
    def partitions(self) -> list[TopicPartition]:
        return list(self._queues)

    @property
    def queues(self) -> list[PartitionQueue]:
        return list(self._queues.values())

    @property
    def paused(self) -> dict[TopicPartition, Failure]:
        """Return why partitions are paused right now."""
        return {TopicPartition(queue.topic, queue.partition): queue.paused for queue in self.queues if queue.paused}

    def for_epoch(self, partition: TopicPartition, epoch: int) -> PartitionQueue | None:
        """Return the queue that follows the seek of this epoch, if it is still open."""
        queue = self._queues.get(partition)
        return queue if queue is not None and queue.epoch == epoch else None

    def append(self, fetched: FetchedRecords) -> None:
        """Append fetched records to their queue; drop them when the partition was revoked or sought elsewhere since."""
        if queue := self.for_epoch(TopicPartition(fetched.topic, fetched.partition), fetched.epoch):
            try:
                queue.append(fetched)
            except RuntimeError as error:
                self._on_fatal(error)

    def open(
        self, starts: Mapping[TopicPartition, int], incarnations: Mapping[TopicPartition, int] | None = None
    ) -> int:
        """Open queues at these offsets in place of those before; return the epoch that the following seek carries."""
        self.close(starts)
        self._epoch += 1
        for partition, offset in starts.items():
            queue = PartitionQueue(*partition, offset, self._epoch, self.capacity_freed)
            queue.incarnation = (incarnations or {}).get(partition, 0)
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
        """Return the partitions that may be fetched: a full queue holds back its own partition and no other."""
        if self._draining:
            return []
        share = max(MIN_QUEUE_BYTES, self._buffer_bytes // max(1, len(self._queues)))
        return [partition for partition, queue in self._queues.items() if queue.size_bytes < share]

    def settled(self) -> dict[TopicPartition, int]:
        """Return per partition the offset up to which everything is settled."""
        return {partition: queue.settled_to for partition, queue in self._queues.items()}

    async def drain(self, timeout_s: float) -> bool:
        """Let batches in flight finish, abandon the rest. Return False when the time was too short."""
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
        except BaseException as error:  # noqa: BLE001 - Faust would carry on past it (traps T1-T4)
            if not isinstance(error, asyncio.CancelledError):
                self._on_fatal(error)


def task_name(partition: TopicPartition) -> str:
    """Name the task that processes a partition's batches."""
    return f"partition queue {partition.topic}-{partition.partition}"
