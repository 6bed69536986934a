"""One worker: the product's own assignment, queues and pipeline; around them what Faust and aiokafka do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

import keepstream.app.worker.components
from keepstream.app.testing.memory import RecordedMetrics
from keepstream.app.worker.assignment import Assignment
from keepstream.app.worker.components import Components, TopicComponents
from keepstream.app.worker.consumer_thread import ConsumerThread
from keepstream.app.worker.membership import MembershipMonitor
from keepstream.app.worker.start_offsets import OffsetRegressionMonitor, RecreatedTopicMonitor
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.mapping.ignore import IgnoreRule, compile_rules
from keepstream.processors.mapping.tombstones import ignore_tombstone
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.partition_queue import Batch, FetchedRecords, TransactionLimit
from keepstream.processors.pause import Pause
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.processors.retry import RetryPolicy
from keepstream.processors.validation.validate import Validator
from keepstream.schemas.failure import Step
from keepstream.schemas.outcome import OutcomeCounts
from tests.simulation import simulation, topics
from tests.simulation.coordinator import Coordinator
from tests.simulation.fake_servers import Outbox
from tests.simulation.faults import Fault
from tests.simulation.invariants import check_end
from tests.simulation.log import Consumer, OffsetLostError
from tests.simulation.loop import Process

POLICY = RetryPolicy(max_retries=2, base_s=0.1, cap_s=1.0, attempt_timeout_s=8.0, budget_s=20.0)
VALIDATOR = Validator(
    tombstone=ignore_tombstone, ignores=compile_rules([IgnoreRule(source="/kind", equals="heartbeat")])
)
COMMIT_INTERVAL_S = 2.5
NO_MEMBER_LIMIT_S = 40.0
"""`progress_timeout_s`, in small: longer than some rebalances in a row that each wait for a frozen member's session."""


@dataclass
class Gauges(RecordedMetrics):
    """What `start_offsets` tells beside the port, remembered as one number a topic: the records lost to retention."""

    gaps: Counter[str] = field(default_factory=Counter)

    def __getattr__(self, _name: str) -> Gauges:
        return self

    def step_timer(self, _topic: str) -> Callable[[Step, float], None]:
        return self.step_took

    def labels(self, topic: str, *_labels: str) -> Gap:
        return Gap(self.gaps, topic)

    def set(self, _value: float) -> None: ...
    def inc(self) -> None: ...
    def partition_gone(self, _topic: str, _partition: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Gap:
    """A counter with a label."""

    gaps: Counter[str]
    topic: str

    def inc(self, lost: int) -> None:
        self.gaps[self.topic] += lost


@dataclass(eq=False)
class Worker:
    """Lives in its process's context. ``assign`` and ``revoke`` are how the group reaches it, in this order only."""

    world: simulation.World
    process: Process
    metrics: Gauges = field(default_factory=Gauges)
    flows: bool = False
    is_draining: bool = False

    def start(self) -> None:
        world = self.world
        world.gauges.append(self.metrics)
        parts = {name: self._parts(topic) for name, topic in world.topics.items()}
        components = Components(parts, cast("Any", None), cast("Any", self.metrics))
        self.dispatcher = Dispatcher(
            partial(self._process, parts),
            recover=components.recover,
            buffer_bytes=0,
            on_fenced=self._fenced,
            on_fatal=self._fatal,
            limit=TransactionLimit(world.rng.choice((1, 6, 40)), 10**9),
        )
        self.coordinator = Coordinator(world.loop, lambda: world.group.rejoin(self), lambda: world.group.lose(self))
        self.consumer = Consumer(
            {name: topic.log for name, topic in world.topics.items()}, world.rng,
            lambda tp: world.group.owner(tp) is self, self._offset_committed,
            self.dispatcher.capacity_freed.set, Coordinator.Client(self.coordinator),
        )  # fmt: skip
        for topic in world.topics.values():
            topic.log.readers.append(self.dispatcher.capacity_freed.set)
        self.assignment = Assignment(self.dispatcher, components.offsets, cast("Any", self.metrics), world.kafka)
        self.assignment.thread = cast("Any", self.consumer)
        self.assignment._logging_metrics = dict.fromkeys(world.topics, cast("Any", self.metrics))
        self._messages: asyncio.Queue[FetchedRecords] = asyncio.Queue()
        self._rebalances: asyncio.Queue[Callable[[], Coroutine[Any, Any, None]]] = asyncio.Queue()
        for part in (
            self._fetch(), self._dispatch(), self._commit_often(), self._follow_group(), self.coordinator.beat(),
            ConsumerThread._retry_joins(cast("Any", self.consumer)),
            *(monitor.run() for monitor in self._monitors(components)),
        ):  # fmt: skip
            self._run(part)
        world.group.join(self)

    @property
    def is_member(self) -> bool:
        return self in self.world.group.members and self.coordinator.generation > 0

    def revoke(self) -> asyncio.Future[None]:
        """Give everything up; done once the worker has heard of it."""
        heard = self.world.loop.create_future()
        self._rebalances.put_nowait(lambda: self._revoked(heard))
        return heard

    def assign(self, partitions: Iterable[tuple[str, int]]) -> None:
        mine = sorted(partitions)
        self._rebalances.put_nowait(lambda: self._assigned(mine))

    def redeliver(self) -> None:
        if self.flows:
            self._run(self._begin())

    def drain(self) -> None:
        self.is_draining = True
        self._run(self._drain())

    def _parts(self, topic: topics.Topic) -> TopicComponents:
        pause = Pause(self.metrics, base_s=0.2, cap_s=2.0)
        outbox = OutboxPublisher(Outbox(topic.database), topic.dead_letters, self.metrics, pause)
        pipeline = Pipeline(topic.database, outbox, self.metrics, pause, Policies(POLICY, POLICY), VALIDATOR)
        database = cast("Any", topic.database)
        return TopicComponents(pipeline, offsets=database, totals=cast("Any", None), store=database)

    def _monitors(
        self, components: Components
    ) -> tuple[OffsetRegressionMonitor, RecreatedTopicMonitor, MembershipMonitor]:
        logs = {name: topic.log for name, topic in self.world.topics.items()}
        return (
            OffsetRegressionMonitor(self.dispatcher, components.offsets, self._fenced),
            RecreatedTopicMonitor(
                lambda: self.assignment.topic_ids,
                lambda names: {name: logs[name].topic_id for name in names},
                self.assignment.start,
            ),
            MembershipMonitor(
                "group", NO_MEMBER_LIMIT_S, lambda: self.assignment.group_error, lambda: True, on_lost=self._lost
            ),
        )

    def _lost(self, error: str) -> None:
        """End as the product does, with exit code 70; it is started again."""
        check_end(self.world, self, error)
        self.process.kill()

    def _offset_committed(self, tp: TopicPartition, offset: int) -> None:
        self.world.topics[tp.topic].judge.offset_committed(tp.partition, offset)

    async def _process(self, parts: Mapping[str, TopicComponents], batch: Batch) -> OutcomeCounts:
        if batch.borders:
            self.world.faults.happened(Fault.JOINED)
        return await keepstream.app.worker.components.process_by_topic(parts, batch)

    def _run(self, part: Coroutine[Any, Any, None]) -> None:
        task = self.world.loop.create_task(part, context=self.process.context)
        self.world.keep(task)

    async def _begin(self) -> None:
        self.assignment.start(self.consumer.assignment())

    def _fatal(self, error: BaseException) -> None:
        if not self.process.is_dead:
            self.world.loop.violate(error)

    async def _fenced(self, partition: TopicPartition) -> None:
        self.world.topics[partition.topic].faults.happened(Fault.FENCED)
        await self.assignment.restart(partition)

    async def _follow_group(self) -> None:
        while True:
            rebalance = await self._rebalances.get()
            await rebalance()

    async def _revoked(self, heard: asyncio.Future[None]) -> None:
        self.world.loop.tell("revoked")
        self.flows = False
        await self._commit(2.0)
        self.assignment.revoke(self.consumer.assignment())
        if not heard.done():
            heard.set_result(None)
        self.world.group.rejoin(self)

    async def _assigned(self, partitions: list[tuple[str, int]]) -> None:
        self.world.loop.tell("assigned " + ", ".join(f"{topic}-{number}" for topic, number in partitions))
        self.consumer.assign(partitions)
        self.assignment.retain(self.consumer.assignment())
        if partitions:
            self.assignment.start(self.consumer.assignment())
        self.flows = True
        self.dispatcher.capacity_freed.set()

    async def _fetch(self) -> None:
        """As `keepstream.app.worker.faust_app.BatchConsumer.getmany`, and Faust's conductor behind it."""
        capacity_freed = self.dispatcher.capacity_freed
        while True:
            capacity_freed.clear()
            partitions = {TopicPartition(*tp) for tp in self.dispatcher.below_capacity()} if self.flows else set()
            if self.flows and len(partitions) < len(self.dispatcher.partitions):
                self.world.faults.happened(Fault.BACKPRESSURE)
            self.coordinator.fetches(anything=bool(partitions))
            if not await self._deliver(partitions):
                await capacity_freed.wait()

    async def _deliver(self, partitions: set[TopicPartition]) -> bool:
        try:
            fetched = await self.consumer.fetch(partitions) if partitions else {}
        except OffsetLostError as error:
            self.assignment.start([error.tp])
            return False
        for tp, found in fetched.items():
            records, begin = found.records, 0
            while begin < len(records):
                if not self.flows:
                    return False
                size = self.world.rng.randint(1, 4)
                self.world.loop.tell(f"delivers {[r.offset for r in records[begin : begin + size]]} of {tp}")
                if message := self.assignment.expect(tp, found.epoch, records[begin : begin + size]):
                    self._messages.put_nowait(message)
                begin += size
            self.assignment.advance(tp, found.epoch, found.position)
        return any(found.records for found in fetched.values())

    async def _dispatch(self) -> None:
        while True:
            self.dispatcher.append(await self._messages.get())

    async def _commit_often(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL_S)
            await self._commit(5.0)

    async def _commit(self, timeout_s: float) -> None:
        """As `keepstream.app.worker.faust_app.BatchConsumer._commit_settled`."""
        offsets = self.assignment.uncommitted()
        if not offsets:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self.consumer.commit_settled({TopicPartition(*tp): o for tp, o in offsets.items()})
        except (KafkaError, TimeoutError) as error:
            self.assignment.commit_failed(error)
        else:
            self.assignment.committed(offsets)

    async def _drain(self) -> None:
        """As `keepstream.app.worker.run.Worker.stop`."""
        await self.dispatcher.drain(10.0)
        await self._commit(5.0)
        self.assignment.close()
        self.process.kill()
