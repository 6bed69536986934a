"""Faust's consumer thread with keepstream's aiokafka consumer: fetches, seeks, log bounds and commits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import aiokafka
from aiokafka.errors import ConsumerStoppedError, KafkaError, KafkaTimeoutError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.connect.client_config import librdkafka_settings
from keepstream.app.process.exit import critical_task
from keepstream.app.worker import aiokafka_internals as internals
from keepstream.app.worker.aiokafka_internals import undecodable
from keepstream.app.worker.consumer import MAX_POLL_RECORDS, new_consumer
from keepstream.app.worker.membership import explain_refusal
from keepstream.processors.partition_queue import memory_size
from keepstream.processors.start_offset import CommittedOffset
from keepstream.sinks.kafka.admin import KafkaAdmin

TOPIC_ID_TIMEOUT_S = 3.0
LEADER_TIMEOUT = 0.25
"""Timeout of a leader's answer about its log's start and end, as a share of the request timeout."""
GROUP_RETRY_S = 3.0
"""Wait before a join that the group refused is tried again."""
FETCH_BYTES = 4 * 1024 * 1024
"""About how much one fetch decodes of aiokafka's buffers, whose kilobytes may decompress to a thousandfold."""
TAKE_RECORDS = 25
"""Records decoded at a time, before their sizes are added up."""
UNKNOWN_RECORD_BYTES = 1024 * 1024
"""Assumed size of a record before the first fetch."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition, the position after them, and the epoch of the seek that they follow."""

    epoch: int
    position: int
    records: Sequence[Any]
    error: Exception | None = None
    """The error that ended decoding after these records."""


class ConsumerThread(AIOKafkaConsumerThread):
    """Runs the consumer on a thread of its own. Methods named ``in_thread`` run on that thread's loop.

    Each seek carries an epoch and each fetch returns it: so a fetch that was under way during a seek is known as older.
    """

    settings: KafkaSettings
    _late_error: KafkaError | None = None
    """An error of a partition that was met when records of others were taken already."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._epochs: dict[TopicPartition, int] = {}
        self._record_bytes = UNKNOWN_RECORD_BYTES
        self._refusal: KafkaError | None = None
        self._group_task: asyncio.Task[None] | None = None

    @cached_property
    def _admin(self) -> KafkaAdmin:
        return KafkaAdmin(librdkafka_settings(self.settings), timeout_s=TOPIC_ID_TIMEOUT_S)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:  # noqa: ANN401, ARG002
        return new_consumer(self.settings)

    async def on_start(self) -> None:
        await super().on_start()
        self._group_task = critical_task(self._retry_joins(), "group membership")

    async def _retry_joins(self) -> None:
        """Try refused joins again. Raises the error that ended aiokafka's coordination task (Faust trap T34)."""
        consumer = self._ensure_consumer()
        while True:
            await asyncio.sleep(GROUP_RETRY_S)
            if refusal := internals.retry_refused_join(consumer):
                self._refusal = refusal
            elif internals.is_settled_member(consumer):
                self._refusal = None

    @property
    def group_error(self) -> str | None:
        """Return why the group refuses this consumer; None while it is a member, or has not asked to join."""
        if self._refusal:
            return explain_refusal(self._refusal)
        return "joining" if self._consumer and internals.is_joining(self._consumer) else None

    async def on_thread_stop(self) -> None:
        """Stop the consumer, and leave the group, so that the other members get the partitions at once."""
        if self._group_task is not None:
            self._group_task.cancel()
        if self._consumer is not None and self.settings.leave_on_stop:
            internals.leave_also_as_static_member(self._consumer)
        await super().on_thread_stop()

    async def fetch(self, partitions: set[TopicPartition], timeout_s: float) -> dict[TopicPartition, Fetched]:
        """Fetch from these partitions (at least one). The result has every assigned partition."""
        return await self.call_thread(self._fetch_in_thread, partitions, timeout_s)  # type: ignore[no-any-return]

    async def _fetch_in_thread(
        self, partitions: set[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, Fetched]:
        consumer = self._ensure_consumer()
        if internals.is_closed(consumer):
            raise ConsumerStoppedError
        if not self.consumer.flow_active:
            return {}
        if internals.is_rebalancing(consumer):
            await asyncio.sleep(timeout_s)
            return {}
        with internals.fetch_context(consumer):
            records = await self._take(consumer, partitions, timeout_s)
        # No await from here on: records, epochs and positions belong together.
        states = internals.partition_states(consumer)
        consumer.pause(*(tp for tp, state in states.items() if undecodable(state)))
        return {
            tp: Fetched(self._epochs.get(tp, 0), state.position, records.get(tp, ()), undecodable(state))
            for tp, state in states.items()
            if state.has_valid_position
        }

    async def _take(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: set[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, list[Any]]:
        """Decode records in small portions until there are enough of them, or enough bytes.

        Raises the KafkaError of a partition only when nothing was taken, for aiokafka has moved on past what was: the
        next call raises it then, at once, however much the other partitions have.
        """
        if error := self._late_error:
            self._late_error = None
            raise error
        taken: dict[TopicPartition, list[Any]] = {}
        count, size_bytes, asked = 0, 0, False
        while count < MAX_POLL_RECORDS and size_bytes < FETCH_BYTES:
            capacity = (FETCH_BYTES - size_bytes) // self._record_bytes
            wanted = max(1, min(TAKE_RECORDS, MAX_POLL_RECORDS - count, capacity))
            try:
                found = await internals.fetched_records(consumer, partitions, 0 if asked else timeout_s, wanted)
            except KafkaError as error:
                if not taken:
                    raise
                self._late_error = error
                break
            asked, portion = True, 0
            for tp, records in found.items():
                taken.setdefault(tp, []).extend(records)
                portion += len(records)
                size_bytes += memory_size(records)
            count += portion
            self._record_bytes = max(1, size_bytes // count) if count else self._record_bytes
            # A portion that is not full was the last; during a rebalance the next call would wait.
            if portion < wanted or internals.is_rebalancing(consumer):
                break
        return taken

    async def seek_all(self, offsets: Mapping[TopicPartition, int], epoch: int) -> None:
        """Seek each partition that is still assigned; later fetches return the epoch."""
        await self.call_thread(self._seek_in_thread, offsets, epoch)

    async def _seek_in_thread(self, offsets: Mapping[TopicPartition, int], epoch: int) -> None:
        consumer = self._ensure_consumer()
        states = internals.partition_states(consumer)
        for tp, offset in offsets.items():
            if state := states.get(tp):
                if undecodable(state):
                    state.undecodable = None
                    consumer.resume(tp)
                consumer.seek(tp, offset)
                self._epochs[tp] = epoch

    async def log_bounds(self, partitions: Sequence[TopicPartition]) -> LogBounds:
        """Return the bounds of the logs whose leader answers, and the committed offsets. Raises KafkaError."""
        return await self.call_thread(self._log_bounds_in_thread, partitions)  # type: ignore[no-any-return]

    async def _log_bounds_in_thread(self, partitions: Sequence[TopicPartition]) -> LogBounds:
        # The ids are read first. The start of a deleted topic beside the id of its successor would skip the successor's
        # first records; an id that is older than the bounds differs from the cluster's at the next check.
        ids = await asyncio.to_thread(self._admin.topic_ids, {tp.topic for tp in partitions})
        bounds = await self._starts_and_ends(partitions)
        if not bounds:  # the call waited for the slowest leader
            answers = await asyncio.gather(*(self._starts_and_ends([tp]) for tp in partitions))
            bounds = {tp: log for answer in answers for tp, log in answer.items()}
        if not bounds:
            raise KafkaTimeoutError
        found = await internals.committed_with_metadata(self._ensure_consumer(), list(bounds))
        committed = {tp: CommittedOffset.parse(at.offset, at.metadata) for tp, at in found.items() if at.offset >= 0}
        starts, ends = ({tp: log[i] for tp, log in bounds.items()} for i in range(2))
        return LogBounds(starts, ends, committed, ids)

    async def _starts_and_ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return start and end of each log; an empty result when any leader does not answer."""
        consumer = self._ensure_consumer()
        try:
            async with asyncio.timeout(LEADER_TIMEOUT * self.settings.request_timeout_s):
                starts = await consumer.beginning_offsets(partitions)
                ends = await consumer.end_offsets(partitions)
        except (KafkaError, TimeoutError):
            return {}
        return {tp: (starts[tp], ends[tp]) for tp in partitions}

    def end_offset(self, tp: TopicPartition) -> int | None:
        """Return the end of the partition's committed log as of the last fetch; None before the first.

        Called from another thread: the partition may be revoked at any time, for which aiokafka's own call raises.
        """
        return internals.last_stable_offset(self._ensure_consumer(), tp)

    @property
    def member_id(self) -> str:
        """The member id that the group's coordinator assigned; empty before the join."""
        return internals.member_id(self._ensure_consumer())

    async def commit_settled(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commit offsets to Kafka. Raises KafkaError; Faust's own commit would stop the worker (trap T35)."""
        await self.call_thread(self._commit_in_thread, offsets)

    async def _commit_in_thread(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        consumer = self._ensure_consumer()
        owned = consumer.assignment()
        # aiokafka accepts its own type only; Faust's TP merely equals it.
        commit = {
            TopicPartition(*tp): OffsetAndMetadata(at.offset, at.metadata) for tp, at in offsets.items() if tp in owned
        }
        if commit:
            await consumer.commit(commit)


@dataclass(frozen=True, slots=True)
class LogBounds:
    """First and end offsets of logs, the group's committed offsets where there are any, and the ids of the topics."""

    starts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    committed: Mapping[TopicPartition, CommittedOffset]
    topic_ids: Mapping[str, str] = field(default_factory=dict)
