"""The core, broken on purpose. Each is a fault that a careless change could bring back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from keepstream.app.testing.memory import MemoryStore
from keepstream.processors.batch_part import BatchPart
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.processors.pipeline import Pipeline
from keepstream.processors.replay.replay import Replay
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure, RecordError, Step, Verdict
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Publication, Settlement
from keepstream.schemas.record import KafkaRecord, TopicPartition
from tests.builders import make_failure
from tests.simulation.fake_servers import Database, DeadLetterTopic
from tests.simulation.seeded_assignment_bugs import ASSIGNMENT_BUGS
from tests.simulation.seeded_group_commit_bugs import GROUP_COMMIT_BUGS
from tests.simulation.seeded_topic_bugs import TOPIC_BUGS

patch = mock.patch.object


def ack_before_commit() -> Any:
    """The offset counts as settled once a batch is taken up (Faust traps T1, T9)."""
    process = Pipeline.process

    async def early(self: Pipeline, batch: Batch) -> OutcomeCounts:
        batch.queue.settled_to = batch.offset_range.next_offset
        return await process(self, batch)

    return patch(Pipeline, "process", early)


def count_before_dedupe() -> Any:
    """Counted is what came in, not what the table took."""
    write = MemoryStore._write

    def counted(self: MemoryStore, event: ValidEvent) -> OutcomeCounts:
        write(self, event)
        return OutcomeCounts(delivered=1)

    return patch(MemoryStore, "_write", counted)


def dlq_not_awaited() -> Any:
    """A letter leaves the outbox whether or not the broker has it (trap T13)."""
    publish = DeadLetterTopic.publish

    async def hopeful(self: DeadLetterTopic, records: Sequence[KafkaRecord]) -> Publication:
        await publish(self, records)
        return Publication({DeadLetterRecord(record).id: None for record in records})

    return patch(DeadLetterTopic, "publish", hopeful)


def published_before_decided() -> Any:
    """A letter goes out before the transaction that decides it: the next try may decide otherwise."""
    settle = Pipeline._settle

    async def early(self: Pipeline, part: BatchPart, *, retries: bool) -> OutcomeCounts:
        if part.dead:
            await self.outbox.dead_letters.publish(self.outbox.prepare(part.dead))
        return await settle(self, part, retries=retries)

    return patch(Pipeline, "_settle", early)


def outbox_is_left_to_itself() -> Any:
    """A worker that takes a partition over does not publish what the outbox holds."""

    async def nothing(_self: OutboxPublisher, _queue: PartitionQueue) -> None: ...

    return patch(OutboxPublisher, "recover", nothing)


def outbox_outside_the_transaction() -> Any:
    """The outbox is written after the transaction that decides."""
    settle, finish = Database.settle, MemoryStore._finish

    def finish_without(self: MemoryStore, settlement: Settlement, tally: OutcomeCounts) -> None:
        finish(self, replace(settlement, outbox=()), tally)

    async def settle_in_two(self: Database, settlement: Settlement) -> OutcomeCounts:
        tally = await settle(self, settlement)
        place = (settlement.offset_range.topic, settlement.offset_range.partition)
        letters = {DeadLetterRecord(record).id: record for record in settlement.outbox}
        await self.network.ask(lambda: self.memory.outbox.setdefault(place, {}).update(letters))
        return tally

    return _both(patch(MemoryStore, "_finish", finish_without), patch(Database, "settle", settle_in_two))


@contextlib.contextmanager
def _both(first: Any, second: Any) -> Iterator[None]:
    with first, second:
        yield


@contextlib.contextmanager
def offset_outside_the_transaction() -> Iterator[None]:
    """Rows and counters are committed; the offset follows on its own."""
    settle, steps, finish = Database.settle, Database.settle_by_steps, MemoryStore._finish

    def finish_without(self: MemoryStore, settlement: Settlement, tally: OutcomeCounts) -> None:
        offsets = dict(self.next_offsets)
        finish(self, settlement, tally)
        self.next_offsets = offsets

    async def move(self: Database, offset_range: BatchRange) -> None:
        moved = {(offset_range.topic, offset_range.partition): offset_range.next_offset}
        await self.network.ask(lambda: self.memory.next_offsets.update(moved))

    async def settle_in_two(self: Database, settlement: Settlement) -> OutcomeCounts:
        tally = await settle(self, settlement)
        await move(self, settlement.offset_range)
        return tally

    async def steps_in_two(self: Database, offset_range: BatchRange, event: ValidEvent, done: Any) -> OutcomeCounts:
        tally = await steps(self, offset_range, event, done)
        await move(self, offset_range)
        return tally

    with (
        patch(MemoryStore, "_finish", finish_without),
        patch(Database, "settle", settle_in_two),
        patch(Database, "settle_by_steps", steps_in_two),
    ):
        yield


def ignored_records_are_not_counted() -> Any:
    """The offset passes a record that a rule ignores, and no counter moves."""
    settle = MemoryStore.settle

    async def uncounted(self: MemoryStore, settlement: Settlement) -> OutcomeCounts:
        return await settle(self, replace(settlement, counts=replace(settlement.counts, ignored=0)))

    return patch(MemoryStore, "settle", uncounted)


def ignored_records_are_forgotten_in_halves() -> Any:
    """What is ignored is forgotten once its batch is halved."""
    divide = BatchPart.divide

    def forgetful(self: BatchPart) -> list[BatchPart]:
        return [replace(part, ignored=()) for part in divide(self)]

    return patch(BatchPart, "divide", forgetful)


def no_fence() -> Any:
    """Whoever comes last writes (trap T22)."""
    return patch(MemoryStore, "_fence", lambda _self, _span: None)


def old_version_overwrites() -> Any:
    """The last one to arrive wins."""
    write = MemoryStore._write

    def overwrite(self: MemoryStore, event: ValidEvent) -> OutcomeCounts:
        if row := self.rows.get(event.event_id):
            row.version, row.document = (datetime.min.replace(tzinfo=UTC), 0, -1), b"{}"
        return write(self, event)

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


def environment_kills_records() -> Any:
    """Records die of retries used up, whatever used them up."""
    always = property(lambda _self: True, lambda _self, _value: None)
    return patch(Failure, "record_may_cause", always)


def lost_connection_blames_the_record() -> Any:
    """A record dies when the connection to the database was lost once too often while it was written."""
    given = Failure.__dict__["record_may_cause"]

    def may_cause(failure: Failure) -> bool:
        return failure.reason == "connection_lost" or given.__get__(failure)

    return patch(Failure, "record_may_cause", property(may_cause, given.__set__))


def dies_without_another_try() -> Any:
    """A record dies once the database is found healthy, although what made it fail has passed by then."""

    async def no_more(_self: Pipeline, _queue: PartitionQueue, _attempt: Any, before: Failure) -> OutcomeCounts:
        raise RecordError(replace(before, verdict=Verdict.EXHAUSTED))

    return patch(Pipeline, "_once_more", no_more)


def good_neighbours_die() -> Any:
    """A batch that is refused dies as a whole, instead of being halved."""

    async def bury_all(self: Pipeline, part: BatchPart) -> OutcomeCounts:
        now = datetime.now(UTC)
        dead = [DeadLetter(event.record, make_failure(), now, now, event.event_id) for event in part.events]
        return await self.settle(replace(part, events=(), dead=[*part.dead, *dead]))

    return patch(Pipeline, "_divide", bury_all)


def halves_overlap() -> Any:
    """The second half of a refused batch begins where the batch did."""
    divide = BatchPart.divide

    def overlapping(self: BatchPart) -> list[BatchPart]:
        parts = divide(self)
        whole = replace(parts[-1].offset_range, expected_offset=self.offset_range.expected_offset)
        return parts if self.borders else [parts[0], replace(parts[1], offset_range=whole)]

    return patch(BatchPart, "divide", overlapping)


def metrics_refusal_is_fatal() -> Any:
    """What the metrics step refuses ends the worker."""
    steps = Pipeline._steps

    async def fatal(self: Pipeline, part: BatchPart) -> OutcomeCounts:
        try:
            return await steps(self, part)
        except RecordError as error:
            if error.failure.step is Step.METRICS:
                raise ValueError("unforeseen") from error
            raise

    return patch(Pipeline, "_steps", fatal)


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


SABOTAGES = (
    ignored_records_are_not_counted, ignored_records_are_forgotten_in_halves,
    ack_before_commit, count_before_dedupe, dlq_not_awaited, published_before_decided,
    outbox_is_left_to_itself, outbox_outside_the_transaction, offset_outside_the_transaction, no_fence,
    old_version_overwrites, epoch_ignored, batch_dropped_when_held, environment_kills_records,
    dies_without_another_try, good_neighbours_die, halves_overlap, metrics_refusal_is_fatal, queue_dies_in_silence,
    capacity_is_not_freed, replay_forgets_what_is_uncertain, lost_connection_blames_the_record,
    *ASSIGNMENT_BUGS, *GROUP_COMMIT_BUGS, *TOPIC_BUGS,
)  # fmt: skip
