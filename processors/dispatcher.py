"""All lanes of a worker: who may fetch, who works, what may be committed, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from keepstream.processors.partition_queue import Batch, PartitionQueue, PartitionRevokedError
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import TopicPartition

MIN_LANE_BYTES = 256 * 1024


class Dispatcher:
    """One lane and one task per assigned partition.

    ``buffer_bytes`` bounds what all lanes hold together. ``on_fenced`` is called with the place whose stored offset
    another worker moved; ``on_fatal`` with an error nobody foresaw, and must not return to business as usual.
    """

    def __init__(
        self,
        process: Callable[[Batch], Awaitable[OutcomeCounts]],
        *,
        buffer_bytes: int,
        on_fenced: Callable[[TopicPartition], Awaitable[None]],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._process = process
        self._buffer_bytes = buffer_bytes
        self._on_fenced = on_fenced
        self._on_fatal = on_fatal
        self._lanes: dict[TopicPartition, PartitionQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._draining = False
        self._epoch = 0
        self.room = asyncio.Event()

    def __contains__(self, place: object) -> bool:
        return place in self._lanes

    def of_epoch(self, place: TopicPartition, epoch: int) -> PartitionQueue | None:
        """Return the lane that follows this very seek, if it is still open."""
        lane = self._lanes.get(place)
        return lane if lane is not None and lane.epoch == epoch else None

    @property
    def places(self) -> list[TopicPartition]:
        return list(self._lanes)

    def all(self) -> list[PartitionQueue]:
        """Return the open lanes, to look at."""
        return list(self._lanes.values())

    def open(self, starts: Mapping[TopicPartition, int]) -> int:
        """Begin lanes at these offsets, abandoning those before; return the epoch the following seek has to carry."""
        self.close(starts)
        self._epoch += 1
        for (topic, partition), offset in starts.items():
            lane = PartitionQueue(topic, partition, offset, self._epoch, self.room)
            self._lanes[TopicPartition(topic, partition)] = lane
            task = asyncio.create_task(self._work(lane), name=f"lane {topic}-{partition}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return self._epoch

    def close(self, places: Iterable[TopicPartition]) -> None:
        for place in list(places):
            if lane := self._lanes.pop(place, None):
                lane.close()

    def with_room(self) -> list[TopicPartition]:
        """Return the places that may be fetched: a full lane holds back its own partition and no other."""
        if self._draining:
            return []
        share = max(MIN_LANE_BYTES, self._buffer_bytes // max(1, len(self._lanes)))
        return [place for place, lane in self._lanes.items() if lane.size_bytes < share]

    def settled(self) -> dict[TopicPartition, int]:
        """Return per place the offset before which nothing is waiting any more."""
        return {place: lane.settled_to for place, lane in self._lanes.items()}

    async def drain(self, timeout_s: float) -> bool:
        """Let batches in flight finish, abandon the rest. False when the time was too short."""
        self._draining = True
        for lane in self._lanes.values():
            lane.finish()
        try:
            async with asyncio.timeout(timeout_s):
                while self._busy:
                    self.room.clear()
                    await self.room.wait()
        except TimeoutError:
            return False
        return True

    async def _work(self, lane: PartitionQueue) -> None:
        try:
            while batch := await lane.next_batch():
                self._busy += 1
                try:
                    await self._process(batch)
                    lane.settle(batch)
                finally:
                    self._busy -= 1
                    self.room.set()
        except PartitionRevokedError:
            return
        except FencedError:
            if not lane.closed:
                await self._on_fenced(TopicPartition(lane.topic, lane.partition))
        except BaseException as error:  # noqa: BLE001 - Faust would carry on past it (traps T1-T4)
            if not isinstance(error, asyncio.CancelledError):
                self._on_fatal(error)
