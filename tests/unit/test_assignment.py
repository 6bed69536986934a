"""Where partitions start, while other workers go on working."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import psycopg
import pytest
from aiokafka.structs import TopicPartition

from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.config.settings import Settings
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.run import build_app
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import Batch
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Incarnation
from keepstream.schemas.record import TopicPartition as RecordPartition
from keepstream.sinks.postgres.offsets import StoredOffset
from keepstream.sinks.prometheus.metrics import PrometheusMetrics
from tests.simulation.log import Bounds
from tests.unit.test_metrics import value

TP = TopicPartition("events", 0)


class Elsewhere:
    """Another worker settles five new records whenever anybody waits for an answer about the partition."""

    def __init__(self) -> None:
        self.end = self.stored = 10
        self.sought: dict[TopicPartition, int] = {}
        self.rewound_to: int | None = None
        self.member_id = "one"

    async def log_bounds(self, _partitions: Sequence[TopicPartition]) -> Bounds:
        bounds = Bounds({TP: 0}, {TP: self.end}, {})
        self.end = self.stored = self.end + 5
        return bounds

    async def load(self, _topic: str, _partitions: Iterable[int]) -> dict[int, StoredOffset]:
        stored = self.stored
        self.end = self.stored = self.end + 5
        return {0: StoredOffset(stored, 0)}

    async def rewind(
        self, _topic: str, _partition: int, known: Incarnation, next_offset: int, _topic_id: str | None
    ) -> bool:
        self.rewound_to = next_offset
        return known.number == 0

    async def skip_gap(
        self, _topic: str, _partition: int, _known: Incarnation, expected_offset: int, next_offset: int
    ) -> bool:
        raise NotImplementedError

    async def seek_all(self, offsets: Mapping[TopicPartition, int], _epoch: int) -> None:
        self.sought = dict(offsets)

    def assignment(self) -> set[TopicPartition]:
        return {TP}


async def test_what_another_worker_settles_meanwhile_is_no_recreated_topic() -> None:
    """Simulation, seed 24451: the end of the log was older than the stored offset it was held against."""
    world = Elsewhere()
    assignment = assignment_in(world)
    assignment.start([TP])
    await started(assignment)
    assert (world.rewound_to, world.sought) == (None, {TP: 10})
    assignment.close()


async def test_a_partition_that_began_again_while_the_group_gave_it_away_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that is fenced after the revocation begins its partition again, and the group's answer comes later."""
    world = Elsewhere()
    assignment = assignment_in(world)
    assignment.start([TP])
    await started(assignment)
    assert assignment.dispatcher.partitions
    consumer = cast("Any", build_app(Settings(), assignment).consumer)
    monkeypatch.setattr(consumer, "_on_partitions_assigned", ignored)
    await consumer.on_partitions_assigned(set(), 1)
    assert not assignment.dispatcher.partitions
    assert assignment.ready, "a worker whom the group gave nothing stands by"
    consumer._thread.thread_loop.close()
    assignment.close()


class Slow(Elsewhere):
    """A database that takes its time."""

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        await asyncio.sleep(0)
        return await super().load(topic, partitions)


async def test_a_partition_that_is_given_away_while_its_offset_is_read_gets_no_queue() -> None:
    """The group has not answered yet, and until then the consumer calls the partition its own."""
    world = Slow()
    assignment = assignment_in(world)
    assignment.start([TP])
    await asyncio.sleep(0)
    assignment.revoke([TP])
    await started(assignment)
    assert not assignment.dispatcher.partitions
    assignment.close()


class Recreated(Elsewhere):
    """Another topic has the name now, and another worker sees it first."""

    incarnation = 0

    async def log_bounds(self, _partitions: Sequence[TopicPartition]) -> Bounds:
        return Bounds({TP: 0}, {TP: 3}, {})

    async def load(self, _topic: str, _partitions: Iterable[int]) -> dict[int, StoredOffset]:
        return {0: StoredOffset(2 if self.incarnation else 10, 0, Incarnation(self.incarnation))}

    async def rewind(
        self, _topic: str, _partition: int, known: Incarnation, next_offset: int, _topic_id: str | None
    ) -> bool:
        assert (known.number, next_offset) == (0, 0)
        self.incarnation = 1
        return False


async def test_a_topic_that_another_worker_found_recreated_first_starts_where_that_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keepstream.app.worker.start_offsets.RETRY_WAIT_S", 0)
    world = Recreated()
    assignment = assignment_in(world)
    assignment.start([TP])
    await started(assignment)
    (queue,) = assignment.dispatcher.queues
    assert (world.sought, queue.incarnation) == ({TP: 2}, 1)
    assignment.close()


class Forgetful(Elsewhere):
    """PostgreSQL and Kafka know nothing of the partition, or nothing any more."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[int] = []
        self.start = 0
        self.topic_id = "first"

    async def load(self, _topic: str, _partitions: Iterable[int]) -> dict[int, StoredOffset]:
        return {}

    async def log_bounds(self, _partitions: Sequence[TopicPartition]) -> Bounds:
        return Bounds({TP: self.start}, {TP: self.end}, {}, {"events": self.topic_id})

    async def open(self, _topic: str, _partition: int, next_offset: int, _topic_id: str | None) -> None:
        self.opened.append(next_offset)

    async def skip_gap(
        self, _topic: str, _partition: int, _known: Incarnation, expected_offset: int, next_offset: int
    ) -> bool:
        return expected_offset < next_offset


async def test_a_partition_that_only_this_worker_remembers_begins_where_it_began() -> None:
    """A standby that lagged took over before the first commit to Kafka: ``latest`` would skip what came since."""
    world = Forgetful()
    assignment = assignment_in(world, auto_offset_reset="latest")
    assignment.start([TP])
    await started(assignment)
    world.end = 20
    assignment.start([TP])
    await started(assignment)
    assert (world.opened, world.sought) == ([10, 10], {TP: 10})
    assignment.close()


async def test_where_a_topic_began_says_nothing_of_the_next_one_of_its_name() -> None:
    """Simulation, seed 84018 of 2026-11-30: PostgreSQL forgot the partition, and its topic was re-created shorter."""
    world = Forgetful()
    world.start = 4
    assignment = assignment_in(world)
    assignment.start([TP])
    await started(assignment)
    world.start, world.end, world.topic_id = 0, 5, "second"
    assignment.start([TP])
    await started(assignment)
    assert (world.opened, world.sought) == ([4, 0], {TP: 0})
    assignment.close()


async def test_what_postgres_forgot_and_retention_deleted_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    world, said = Forgetful(), list[str]()
    monkeypatch.setattr("keepstream.app.worker.start_offsets.exit_fatal", said.append)
    assignment = assignment_in(world, on_gap="stop")
    for world.start in (0, 4):
        assignment.start([TP])
        await started(assignment)
    (why,) = said
    assert "no longer has the stored offset 0, but begins at 4 (forgotten)" in why
    assignment.close()


class Leaderless(Elsewhere):
    """Another partition, whose leader is away at first."""

    OTHER = TopicPartition("events", 1)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[set[TopicPartition]] = []

    async def load(self, _topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        return dict.fromkeys(partitions, StoredOffset(3, 0))

    async def log_bounds(self, partitions: Sequence[TopicPartition]) -> Bounds:
        self.asked.append({*partitions})
        answers = [tp for tp in partitions if tp != self.OTHER or len(self.asked) > 1]
        return Bounds(dict.fromkeys(answers, 0), dict.fromkeys(answers, 9), {})

    async def seek_all(self, offsets: Mapping[TopicPartition, int], _epoch: int) -> None:
        self.sought |= offsets

    def assignment(self) -> set[TopicPartition]:
        return {TP, self.OTHER}


async def test_a_partition_without_a_leader_keeps_no_other_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keepstream.app.worker.assignment.RETRY_WAIT_S", 0.01)
    world = Leaderless()
    assignment = assignment_in(world)
    assignment.start([TP, world.OTHER])
    while not world.sought:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)
    assert world.sought == {TP: 3}
    assert not assignment.ready
    await started(assignment)
    assert world.sought == {TP: 3, world.OTHER: 3}
    assert world.asked == [{TP, world.OTHER}, {world.OTHER}]
    assignment.close()


class Stubborn(Elsewhere):
    """A database whose driver, cancelled in its first wait, reports a lost connection instead (psycopg issue 1371)."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.loads = 0

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        self.loads += 1
        if self.loads == 1:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise psycopg.OperationalError from None
        return await super().load(topic, partitions)

    async def seek_all(self, offsets: Mapping[TopicPartition, int], epoch: int) -> None:
        await super().seek_all(offsets, epoch)
        self.epochs.append(epoch)


async def test_a_begin_that_was_overtaken_opens_no_queues_even_if_its_cancellation_got_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keepstream.app.worker.start_offsets.RETRY_WAIT_S", 0.01)
    world = Stubborn()
    assignment = assignment_in(world)
    assignment.start([TP])
    await asyncio.sleep(0.01)
    assignment.start([TP])
    await asyncio.sleep(0.1)
    assert world.epochs == [1]
    assignment.close()


class Both(Elsewhere):
    """Two topics with a partition each."""

    OTHER = TopicPartition("orders", 0)

    async def log_bounds(self, partitions: Sequence[TopicPartition]) -> Bounds:
        return Bounds(dict.fromkeys(partitions, 0), dict.fromkeys(partitions, 9), {})

    async def load(self, _topic: str, _partitions: Iterable[int]) -> dict[int, StoredOffset]:
        return {0: StoredOffset(3, 0)}

    def assignment(self) -> set[TopicPartition]:
        return {TP, self.OTHER}


async def test_a_rebalance_counts_once_however_many_topics_it_assigns() -> None:
    world, metrics = Both(), PrometheusMetrics(["events", "orders"])
    assignment = assignment_in(world, metrics)
    assignment.start([TP, world.OTHER])
    await started(assignment)
    assert {*assignment.dispatcher.partitions} == {TP, world.OTHER}
    assert value(metrics, "rebalances_total") == 1
    assert value(metrics, "assigned_partitions") == 2
    assignment.close()


async def test_a_fenced_batch_counts_for_its_topic() -> None:
    world, metrics = Both(), PrometheusMetrics(["events", "orders"])
    assignment = assignment_in(world, metrics)
    await assignment.restart(RecordPartition(*world.OTHER))
    assert value(metrics, "fenced_batches_total", "orders") == 1
    assert value(metrics, "fenced_batches_total", "events") == 0
    assignment.close()


class Away(Elsewhere):
    """Another topic, whose database does not answer."""

    ORDERS = TopicPartition("orders", 0)

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        self.asked += 1
        raise psycopg.OperationalError

    def assignment(self) -> set[TopicPartition]:
        return {TP, self.ORDERS}


async def test_a_topic_whose_database_is_away_keeps_no_other_from_starting_and_is_given_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When its database answers, its partitions are another worker's: nothing may be written for them."""
    monkeypatch.setattr("keepstream.app.worker.start_offsets.RETRY_WAIT_S", 0)
    world, away = Elsewhere(), Away()
    world.assignment = away.assignment  # type: ignore[method-assign]
    assignment = assignment_in(world, orders=away)
    assignment.refused["orders"] = "the tables are those of another topic"
    assignment.start(away.assignment())
    while not world.sought:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)
    assert (assignment.ready, assignment.waiting_topics) == (False, ["orders"])
    assignment.retain([TP])
    asked = away.asked
    await asyncio.sleep(0.01)
    assert (assignment.ready, assignment.waiting_topics, assignment.refused) == (True, [], {})
    assert away.asked == asked
    assignment.close()


class Late(Both):
    """The database of one topic does not answer at first."""

    answers = False

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        if topic == self.OTHER.topic and not self.answers:
            raise psycopg.OperationalError
        return await super().load(topic, partitions)


async def test_partitions_are_delayed_while_their_stored_offsets_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keepstream.app.worker.start_offsets.RETRY_WAIT_S", 0.01)
    world = Late()
    assignment = assignment_in(world)
    assignment.start([TP, world.OTHER])
    assert assignment.delayed == []
    await asyncio.sleep(0.1)
    assert assignment.delayed == [world.OTHER]
    world.answers = True
    await started(assignment)
    assert assignment.delayed == []
    assignment.close()


def assignment_in(
    world: Elsewhere, metrics: PrometheusMetrics | None = None, orders: Elsewhere | None = None, **settings: Any
) -> Assignment:
    dispatcher = Dispatcher(never, recover=ignored, buffer_bytes=0, on_fenced=ignored, on_fatal=print)
    offsets = {"events": cast("Any", world), "orders": cast("Any", orders or world)}
    assignment = Assignment(dispatcher, offsets, cast("Any", metrics or Silent()), KafkaSettings(**settings))
    assignment.thread = cast("Any", world)
    return assignment


async def started(assignment: Assignment) -> None:
    while not assignment.ready:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)


async def never(_batch: Batch) -> OutcomeCounts:
    raise NotImplementedError


async def ignored(*_given: object) -> None: ...


class Silent:
    """Metrics that nobody reads."""

    def __getattr__(self, _name: str) -> Silent:
        return self

    def __call__(self, *_args: object) -> Silent:
        return self
