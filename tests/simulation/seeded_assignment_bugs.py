"""The worker around the core, broken on purpose: its membership in the group, and where its partitions start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import keepstream.app.worker.consumer
import keepstream.app.worker.start_offsets
import keepstream.processors.pipeline
from keepstream.app.testing.memory import MemoryStore
from keepstream.app.worker.consumer_thread import ConsumerThread
from keepstream.app.worker.membership import MembershipMonitor
from keepstream.app.worker.start_offsets import RecreatedTopicMonitor
from keepstream.processors.start_offset import CommittedOffset, StartOffset, decide_start_offset
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import BatchRange
from keepstream.schemas.record import KafkaRecord, TopicPartition
from tests.simulation.fake_servers import Database
from tests.simulation.log import Consumer, OffsetLostError

patch = mock.patch.object


def group_offset_believed() -> Any:
    """A partition without a row begins where the group committed, whoever did."""
    return patch(keepstream.app.worker.start_offsets, "decide_start_offset", _believing)


def _believing(stored: int | None, committed: CommittedOffset | None, *bounds: int, **options: bool) -> StartOffset:
    by_somebody = CommittedOffset(committed.offset) if committed else None
    return decide_start_offset(stored, by_somebody, *bounds, **options)


def gap_counted_at_each_start() -> Any:
    """The stored offset stays before a gap until a record comes."""

    async def stay(_self: Database, *_partition: object, **_offsets: int) -> bool:
        return True

    return patch(Database, "skip_gap", stay)


def idle_member_leaves() -> Any:
    """A worker that fetches nothing for a while leaves its group."""
    return patch(keepstream.app.worker.consumer, "MAX_POLL_INTERVAL_MS", 3000)


def membership_is_not_watched() -> Any:
    """A worker that is no member of its group any more goes on as if it were one."""
    return patch(MembershipMonitor, "beat", lambda _self: None)


def refused_join_is_not_tried_again() -> Any:
    """A worker that its group refuses once waits for ever."""

    async def wait(_self: ConsumerThread) -> None: ...

    return patch(ConsumerThread, "_retry_joins", wait)


def recreated_topic_is_read_on() -> Any:
    """The id of the topic is compared at an assignment only."""

    async def nothing(_self: RecreatedTopicMonitor) -> None: ...

    return patch(RecreatedTopicMonitor, "check", nothing)


def topic_id_is_ignored() -> Any:
    """A topic of the same name is taken for the same topic."""
    decide = decide_start_offset

    def by_name(*offsets: Any, is_other_topic: bool, reset_to_end: bool) -> StartOffset:
        return decide(*offsets, is_other_topic=False, reset_to_end=reset_to_end)

    return patch(keepstream.app.worker.start_offsets, "decide_start_offset", by_name)


def fence_ignores_the_incarnation() -> Any:
    """A late transaction of the topic before moves the offset of the one that was created in its place."""

    def by_offset(self: MemoryStore, at: BatchRange) -> None:
        if self.next_offsets.get((at.topic, at.partition)) != at.expected_offset:
            raise FencedError(at.topic, at.partition, at.expected_offset)

    return patch(MemoryStore, "_fence", by_offset)


def incarnation_is_forgotten() -> Any:
    """A dead letter of a re-created topic has the id of another one that died at its offset before."""
    return patch(keepstream.processors.pipeline, "_of_incarnation", lambda dead, _incarnation: dead)


def records_go_with_the_error_of_another() -> Any:
    """What was fetched of a partition is dropped when the position of another one is lost; it is read on behind it."""
    read = Consumer._records

    def dropping(self: Consumer, tp: TopicPartition) -> Sequence[KafkaRecord]:
        records = read(self, tp)
        if records is None:
            raise OffsetLostError(tp)
        if records:
            self._read_to(tp, records)
        return records

    return patch(Consumer, "_records", dropping)


ASSIGNMENT_BUGS = (
    records_go_with_the_error_of_another,
    group_offset_believed,
    gap_counted_at_each_start,
    idle_member_leaves,
    membership_is_not_watched,
    refused_join_is_not_tried_again,
    recreated_topic_is_read_on,
    topic_id_is_ignored,
    fence_ignores_the_incarnation,
    incarnation_is_forgotten,
)
