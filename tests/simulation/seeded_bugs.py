"""The core, broken on purpose. Each is a fault that a careless change could bring back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import keepstream.app.worker.start_offsets
from keepstream.processors.bisect_batch import BatchBisection
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.processors.pipeline import BatchState, Pipeline
from keepstream.processors.replay.replay import Replay
from keepstream.processors.start_offset import StartOffset, decide_start_offset
from keepstream.schemas.committed_offset import CommittedOffset
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, StepError
from keepstream.schemas.outcome import OutcomeCounts, Settlement, StoreResult
from keepstream.schemas.record import TopicPartition
from tests.fakes import MemoryStore
from tests.simulation.fake_servers import Database

patch = mock.patch.object


def ack_before_commit() -> Any:
    """The offset counts as settled once a batch is taken up (Faust traps T1, T9)."""
    process = Pipeline.process

    async def early(self: Pipeline, batch: Batch) -> OutcomeCounts:
        batch.queue.settled_to = batch.span.next_offset
        return await process(self, batch)

    return patch(Pipeline, "process", early)


def count_before_dedupe() -> Any:
    """Counted is what came in, not what the table took."""
    write = MemoryStore._write

    def counted(self: MemoryStore, event: ValidEvent, status: str) -> OutcomeCounts:
        write(self, event, status)
        return OutcomeCounts(delivered=1)

    return patch(MemoryStore, "_write", counted)


def dlq_not_awaited() -> Any:
    """The offset moves whether or not the broker has the dead letter (trap T13)."""

    async def publish(self: Pipeline, work: BatchState) -> None:
        letters, work.published = work.dead[work.published :], len(work.dead)
        if letters:
            sending.append(asyncio.create_task(_send(self, letters)))

    async def _send(self: Pipeline, letters: Sequence[DeadLetter]) -> None:
        with contextlib.suppress(StepError):
            await self.dead_letters.publish(letters)

    sending: list[asyncio.Task[None]] = []
    return patch(Pipeline, "_publish", publish)


@contextlib.contextmanager
def offset_outside_the_transaction() -> Iterator[None]:
    """Rows and counters are committed; the offset follows on its own."""
    settle, count, finish = Database.settle, Database.count, MemoryStore._finish

    def finish_without(self: MemoryStore, settlement: Settlement, tally: OutcomeCounts) -> None:
        offsets = dict(self.next_offsets)
        finish(self, settlement, tally)
        self.next_offsets = offsets

    async def move(self: Database, settlement: Settlement) -> None:
        span = settlement.span
        moved = {(span.topic, span.partition): span.next_offset}
        await self.network.ask(lambda: self.memory.next_offsets.update(moved))

    async def settle_in_two(self: Database, settlement: Settlement) -> OutcomeCounts:
        tally = await settle(self, settlement)
        await move(self, settlement)
        return tally

    async def count_in_two(self: Database, settlement: Settlement, stored: StoreResult) -> OutcomeCounts:
        tally = await count(self, settlement, stored)
        await move(self, settlement)
        return tally

    with (
        patch(MemoryStore, "_finish", finish_without),
        patch(Database, "settle", settle_in_two),
        patch(Database, "count", count_in_two),
    ):
        yield


def no_fence() -> Any:
    """Whoever comes last writes (trap T22)."""
    return patch(MemoryStore, "_fence", lambda _self, _span: None)


def status_reset_on_conflict() -> Any:
    """A repeat makes a delivered row pending again."""
    write = MemoryStore._write

    def reset(self: MemoryStore, event: ValidEvent, status: str) -> OutcomeCounts:
        if status == "pending" and event.event_id in self.rows:
            self.rows[event.event_id].status = "pending"
            return OutcomeCounts(delivered=1)
        return write(self, event, status)

    return patch(MemoryStore, "_write", reset)


def old_version_overwrites() -> Any:
    """The last one to arrive wins."""
    write = MemoryStore._write

    def overwrite(self: MemoryStore, event: ValidEvent, status: str) -> OutcomeCounts:
        if row := self.rows.get(event.event_id):
            row.version = (datetime.min.replace(tzinfo=UTC), 0, -1)
            row.content = None
        return write(self, event, status)

    return patch(MemoryStore, "_write", overwrite)


def epoch_ignored() -> Any:
    """Records that were fetched before a seek enter the queue that follows it."""
    return patch(Dispatcher, "for_epoch", lambda self, partition, _epoch: self._queues.get(partition))


def batch_dropped_when_held() -> Any:
    """A batch that the environment refuses counts as settled."""
    process = Pipeline.process

    async def give_up(self: Pipeline, batch: Batch) -> OutcomeCounts:
        try:
            async with asyncio.timeout(1.0):
                return await process(self, batch)
        except TimeoutError:
            return OutcomeCounts()

    return patch(Pipeline, "process", give_up)


def outage_kills_records() -> Any:
    """Records die of retries used up, whatever state the database is in."""

    async def never_asked(_self: Database) -> bool:
        return True

    return patch(Database, "healthy", never_asked)


def good_neighbours_die() -> Any:
    """A batch that is refused dies as a whole, instead of being halved."""

    async def bury_all(self: BatchBisection, events: Sequence[ValidEvent], failure: Failure) -> None:
        for event in events:
            self._bury(event, failure)

    return patch(BatchBisection, "_halve", bury_all)


def queue_dies_in_silence() -> Any:
    """A fenced partition is not started again."""
    return patch(Dispatcher, "__init__", _without_fence_handler(Dispatcher.__init__))


def _without_fence_handler(init: Callable[..., None]) -> Callable[..., None]:
    async def nothing(_partition: TopicPartition) -> None: ...

    def initialise(self: Dispatcher, process: Any, **options: Any) -> None:
        init(self, process, **{**options, "on_fenced": nothing})

    return initialise


def capacity_is_not_freed() -> Any:
    """A settled batch still fills its queue."""
    settle = PartitionQueue.settle

    def keep(self: PartitionQueue, batch: Batch) -> None:
        settle(self, batch)
        self.size_bytes += batch.size_bytes

    return patch(PartitionQueue, "settle", keep)


def replay_forgets_what_is_uncertain() -> Any:
    """A resumed replay does not look for what the killed one sent."""
    return patch(Replay, "_settle_uncertain", lambda _self: None)


def group_offset_believed() -> Any:
    """A partition without a row begins where the group committed, whoever did."""
    return patch(keepstream.app.worker.start_offsets, "decide_start_offset", _believing)


def _believing(stored: int | None, committed: CommittedOffset | None, *bounds: int, **options: bool) -> StartOffset:
    by_somebody = CommittedOffset(committed.offset) if committed else None
    return decide_start_offset(stored, by_somebody, *bounds, **options)


def rows_of_another_run_counted() -> Any:
    """What was stored is counted by whatever server answers then."""
    count = MemoryStore.count

    async def count_all_the_same(self: MemoryStore, settlement: Settlement, stored: StoreResult) -> OutcomeCounts:
        there = [event_id for event_id in stored.pending_ids if event_id in self.rows]
        gone = OutcomeCounts(duplicate=len(stored.pending_ids) - len(there))
        return await count(self, settlement, StoreResult(there, stored.repeats + gone))

    return patch(MemoryStore, "count", count_all_the_same)


SABOTAGES = (
    ack_before_commit, count_before_dedupe, dlq_not_awaited, offset_outside_the_transaction, no_fence,
    status_reset_on_conflict, old_version_overwrites, epoch_ignored, batch_dropped_when_held, outage_kills_records,
    good_neighbours_die, queue_dies_in_silence, capacity_is_not_freed, replay_forgets_what_is_uncertain,
    group_offset_believed, rows_of_another_run_counted,
)  # fmt: skip
