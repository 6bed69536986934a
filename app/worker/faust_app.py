"""A Faust transport whose event is a batch: up to 100 records of one partition.

Faust's own path costs 75 us per event and lets its commit arithmetic decide what is lost. Here Faust carries one
message per batch, and which offset may be committed is known from the lanes (docs/decisions.md, "Faust").
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from faust.events import Event
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from keepstream.app.config.settings import Settings
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.consumer_thread import ConsumerThread, Fetched
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.record import Record

IDLE_WAIT_S = 0.2
"""How long a fetch waits for data while every lane has room."""
ROOM_WAIT_S = 0.005
"""The same while some lane is full: it has to come back quickly when that lane gets room."""


REVOKE_COMMIT_TIMEOUT_S = 2.0
"""A rebalance waits for the last commit no longer than this."""


class _NothingRead(dict[TP, int | None]):
    """Faust drops messages below the highest offset it has seen, also after a seek back. The lanes know better."""

    def __getitem__(self, _tp: TP) -> None:
        return None


class BatchConsumer(driver.Consumer):
    """Faust's consumer, reading batches and leaving offsets to the lanes."""

    _thread: ConsumerThread
    settings: Settings
    assigned: Assignment

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._read_offset = _NothingRead()
        self.assigned.thread = self._thread

    def _new_consumer_thread(self) -> ConsumerThread:
        thread = ConsumerThread(self, loop=self.loop, beacon=self.beacon)
        thread.settings = self.settings.kafka
        return thread

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ARG002, ASYNC109
        """Yield one message per batch; a full lane holds back its own partition only."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        limits = self.settings.worker
        places = await self._places_with_room()
        fetched = await self._fetch(places) if places else {}
        for tp, found in fetched.items():
            for chunk in chunks(found.records, limits.batch_size, limits.batch_max_bytes):
                if self.should_stop or not self.flow_active:
                    return
                if batch := self.assigned.deliver(tp, found.epoch, chunk):
                    yield tp, self._message(tp, batch)
            self.assigned.read_to(tp, found.epoch, found.position)
            if found.trouble:
                self.assigned.cannot_read(tp, found.epoch, found.trouble)

    async def _places_with_room(self) -> set[TP]:
        lanes = self.assigned.lanes
        lanes.room.clear()
        places = {TP(*place) for place in lanes.with_room()}
        if not places:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_WAIT_S):
                    await lanes.room.wait()
        return places

    async def _fetch(self, places: set[TP]) -> dict[TP, Fetched]:
        timeout_s = IDLE_WAIT_S if len(places) == len(self.assigned.lanes.places) else ROOM_WAIT_S
        self.not_waiting_next_records.clear()
        try:
            return await self._thread.fetch(places, timeout_s)
        except (OffsetOutOfRangeError, NoOffsetForPartitionError):
            self.assigned.begin(places)
            return {}
        finally:
            self.not_waiting_next_records.set()

    def _message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        last = cast("Any", batch.records[-1])
        return ConsumerMessage(
            last.topic, last.partition, last.offset, last.timestamp / 1000, last.timestamp_type, [], b"",
            cast("Any", batch), None, 0, 0, tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def perform_seek(self) -> None:
        """Begin lanes at the stored offsets. Does not wait: Faust would carry on without the seek after 30 s."""
        self.assigned.begin(self.assignment())

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Hear the group's answer first: Faust seeks nothing when it is empty."""
        self.assigned.narrow(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is settled, then abandon the rest: the next owner reads it from PostgreSQL (trap T32)."""
        await self._commit_settled(REVOKE_COMMIT_TIMEOUT_S)
        self.assigned.revoke(revoked)
        await super().on_partitions_revoked(revoked)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ANN401, ARG002
        """Tell Kafka where the lanes stand, and where they began. Not by Faust's arithmetic (T9, T10, T21, T30)."""
        return await self._commit_settled(self.settings.kafka.request_timeout_s)

    async def _commit_settled(self, timeout_s: float) -> bool:
        offsets = self.assigned.uncommitted()
        if not offsets:
            return False
        try:
            async with asyncio.timeout(timeout_s):
                await self._thread.commit_settled({TP(*place): offset for place, offset in offsets.items()})
        except (KafkaError, TimeoutError) as error:
            self.assigned.commit_failed(error)
            return False
        self.assigned.committed(offsets)
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's detector only logs, and knows nothing of batches (trap T33)."""


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = BatchConsumer


class BatchSchema(faust.Schema[Any, Any]):
    """Hands a batch through untouched: decoding cannot fail here (trap T8)."""

    def compile(self, app: Any, **_options: Any) -> Any:  # noqa: ANN401
        async def decode(message: Any, *, propagate: bool = False) -> Event:  # noqa: ANN401, ARG001
            return Event(app, None, message.value, message.headers, message)

        return decode


def chunks(records: Sequence[Record], size: int, max_bytes: int) -> Iterator[Sequence[Record]]:
    """Cut records into batches of at most ``size`` records, and of at most ``max_bytes`` unless one is larger."""
    begin = 0
    while begin < len(records):
        chunk = records[begin : begin + size]
        if sum(len(record.value or b"") for record in chunk) > max_bytes:
            chunk = _within(chunk, max_bytes)
        yield chunk
        begin += len(chunk)


def _within(chunk: Sequence[Record], max_bytes: int) -> Sequence[Record]:
    total = 0
    for count, record in enumerate(chunk):
        total += len(record.value or b"")
        if total > max_bytes:
            return chunk[: max(1, count)]
    return chunk
