"""The parts of Faust that keepstream replaces: one Faust event carries a chunk of records, which becomes a batch.

Faust's own path costs 75 us per event, and its commit arithmetic decides what is lost. Here the partition queues know
which offset may be committed (docs/decisions.md, "Faust").
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import accumulate
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from keepstream.app.config.settings import Settings
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.consumer_thread import ConsumerThread, Fetched
from keepstream.app.worker.membership import static_member_name
from keepstream.processors.partition_queue import FetchedRecords
from keepstream.schemas.record import Record

IDLE_WAIT_S = 0.2
"""Longest wait of a fetch for records while every queue is below capacity."""
FULL_QUEUE_WAIT_S = 0.005
"""The same while a queue is full: the next fetch has to include its partition soon after capacity is freed."""
REVOKE_COMMIT_TIMEOUT_S = 2.0
"""Longest wait of a rebalance for the last commit."""


class _NothingRead(dict[TP, int | None]):
    """Keeps Faust from dropping messages below the highest offset it has seen, which it also does after a seek back."""

    def __getitem__(self, _tp: TP) -> None:
        return None


class BatchConsumer(driver.Consumer):
    """Faust's consumer, which yields chunks of records and leaves offsets to the partition queues."""

    _thread: ConsumerThread
    settings: Settings
    assigned: Assignment

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._read_offset = _NothingRead()
        self.assigned.thread = self._thread

    def _new_consumer_thread(self) -> ConsumerThread:
        thread = ConsumerThread(self, loop=self.loop, beacon=self.beacon)
        name = static_member_name(self.settings.kafka.group_instance_id, [*self.settings.topics])
        thread.settings = self.settings.kafka.model_copy(update={"group_instance_id": name})
        return thread

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ARG002, ASYNC109
        """Yield one message per chunk of records; a full queue stops the fetch of its own partition only."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        limits = self.settings.worker
        partitions = await self._below_capacity()
        fetched = await self._fetch(partitions) if partitions else {}
        for tp, found in fetched.items():
            for chunk in chunks(found.records, limits.batch_size, limits.batch_max_bytes):
                if self.should_stop or not self.flow_active:
                    return
                if records := self.assigned.expect(tp, found.epoch, chunk):
                    yield tp, self._message(tp, records)
            self.assigned.advance(tp, found.epoch, found.position)
            if found.error:
                self.assigned.pause_undecodable(tp, found.epoch, found.error)

    async def _below_capacity(self) -> set[TP]:
        dispatcher = self.assigned.dispatcher
        dispatcher.capacity_freed.clear()
        partitions = {TP(*partition) for partition in dispatcher.below_capacity()}
        if not partitions:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_WAIT_S):
                    await dispatcher.capacity_freed.wait()
        return partitions

    async def _fetch(self, partitions: set[TP]) -> dict[TP, Fetched]:
        is_any_full = len(partitions) < len(self.assigned.dispatcher.partitions)
        self.not_waiting_next_records.clear()
        try:
            return await self._thread.fetch(partitions, FULL_QUEUE_WAIT_S if is_any_full else IDLE_WAIT_S)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            (lost,) = error.args  # {partition: offset}, or the partition
            self.assigned.start([*lost] if isinstance(lost, dict) else [lost])
            return {}
        finally:
            self.not_waiting_next_records.set()

    def _message(self, tp: TP, fetched: FetchedRecords) -> ConsumerMessage:
        last = cast("Any", fetched.records[-1])
        return ConsumerMessage(
            last.topic, last.partition, last.offset, last.timestamp / 1000, last.timestamp_type, [], b"",
            cast("Any", fetched), None, 0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def perform_seek(self) -> None:
        """Seek to the stored offsets, in the background: after 30 s Faust would continue without the seek."""
        self.assigned.start(self.assignment())

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Close the partitions that are not assigned, also when none is: Faust then calls nothing."""
        self.assigned.retain(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit settled offsets and abandon the rest: the next owner starts at PostgreSQL's offset (trap T32)."""
        await self._commit_settled(REVOKE_COMMIT_TIMEOUT_S)
        self.assigned.revoke(revoked)
        await super().on_partitions_revoked(revoked)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ANN401, ARG002
        """Commit the queues' settled offsets, not those of Faust's arithmetic (traps T9, T10, T21, T30)."""
        return await self._commit_settled(self.settings.kafka.request_timeout_s)

    async def _commit_settled(self, timeout_s: float) -> bool:
        offsets = self.assigned.uncommitted()
        if not offsets:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self._thread.commit_settled({TP(*partition): offset for partition, offset in offsets.items()})
        except (KafkaError, TimeoutError) as error:
            self.assigned.commit_failed(error)
            return False
        self.assigned.committed(offsets)
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's stall detector only logs, and only knows Faust's own commits (trap T33)."""


class BatchSchema(faust.Schema[Any, Any]):
    """Passes fetched records on undecoded: decoding cannot fail here (trap T8)."""

    def compile(self, app: Any, **_options: Any) -> Any:  # noqa: ANN401
        async def decode(message: Any, *, propagate: bool = False) -> Event:  # noqa: ANN401, ARG001
            return Event(app, None, message.value, message.headers, message)

        return decode


def chunks(records: Sequence[Record], size: int, max_bytes: int) -> Iterator[Sequence[Record]]:
    """Cut records into batches of at most ``size`` records, and of at most ``max_bytes`` unless one is larger."""
    begin = 0
    while begin < len(records):
        chunk = records[begin : begin + size]
        sizes = [*accumulate([len(record.value or b"") for record in chunk])]
        count = max(1, bisect_right(sizes, max_bytes))
        yield chunk[:count]
        begin += count
