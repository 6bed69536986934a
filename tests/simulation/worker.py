"""One worker: the product's own assignment, queues and pipeline; around them what Faust and aiokafka do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from keepstream.app.testing.memory import RecordedMetrics
from keepstream.app.worker.assignment import Assignment
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
from tests.simulation import simulation
from tests.simulation.coordinator import Coordinator
from tests.simulation.fake_servers import Outbox
from tests.simulation.faults import Fault
from tests.simulation.log import TOPIC, Consumer, OffsetLostError
from tests.simulation.loop import Process

POLICY = RetryPolicy(max_retries=2, base_s=0.1, cap_s=1.0, attempt_timeout_s=8.0, budget_s=20.0)
VALIDATOR = Validator(
    tombstone=ignore_tombstone, ignores=compile_rules([IgnoreRule(source="/kind", equals="heartbeat")])
)
COMMIT_INTERVAL_S = 2.5
NO_MEMBER_LIMIT_S = 40.0
"""`progress_timeout_s`, in small: longer than some rebalances in a row that each wait for a frozen member's session."""


class Gauges(RecordedMetrics):
    """What `start_offsets` tells beside the port, remembered as one number: the records lost to retention."""

    gap = 0

    def __getattr__(self, _name: str) -> Gauges:
        return self

    def step_timer(self, _topic: str) -> Callable[[Step, float], None]:
        return self.step_took

    def labels(self, *_labels: str) -> Gauges:
        return self

    def set(self, _value: float) -> None: ...
    def partition_gone(self, _topic: str, _partition: int) -> None: ...

    def inc(self, lost: int = 0) -> None:
        self.gap += lost


@dataclass(eq=False)
class Worker:
    """Lives in its process's context. ``assign`` and ``revoke`` are how the group reaches it, in this order only."""

    world: simulation.World
    process: Process
    metrics: Gauges = field(default_factory=Gauges)
    flows: bool = False

    def start(self) -> None:
        world = self.world
        world.gauges.append(self.metrics)
        pipeline = self._pipeline()
        self.dispatcher = Dispatcher(
            partial(self._process, pipeline),
            recover=pipeline.outbox.recover,
            buffer_bytes=0,
            on_fenced=self._fenced,
            on_fatal=self._fatal,
            limit=TransactionLimit(world.rng.choice((1, 6, 40)), 10**9),
        )
        self.coordinator = Coordinator(world.loop, lambda: world.group.rejoin(self), lambda: world.group.lose(self))
        self.consumer = Consumer(
            world.log, world.rng, lambda p: world.group.owner(p) is self, world.judge.offset_committed,
            self.dispatcher.capacity_freed.set, Coordinator.Client(self.coordinator),
        )  # fmt: skip
        world.log.readers.append(self.dispatcher.capacity_freed.set)
        self.assignment = Assignment(
            self.dispatcher, {TOPIC: cast("Any", world.database)}, cast("Any", self.metrics), world.kafka
        )
        self.assignment.thread = cast("Any", self.consumer)
        self.assignment._logging_metrics = {TOPIC: cast("Any", self.metrics)}
        self._messages: asyncio.Queue[FetchedRecords] = asyncio.Queue()
        self._rebalances: asyncio.Queue[Callable[[], Coroutine[Any, Any, None]]] = asyncio.Queue()
        for part in (
            self._fetch(), self._dispatch(), self._commit_often(), self._follow_group(), self.coordinator.beat(),
            ConsumerThread._retry_joins(cast("Any", self.consumer)), *(monitor.run() for monitor in self._monitors()),
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

    def assign(self, partitions: Iterable[int]) -> None:
        mine = sorted(partitions)
        self._rebalances.put_nowait(lambda: self._assigned(mine))

    def redeliver(self) -> None:
        if self.flows:
            self._run(self._begin())

    def drain(self) -> None:
        self._run(self._drain())

    def _pipeline(self) -> Pipeline:
        world = self.world
        pause = Pause(self.metrics, base_s=0.2, cap_s=2.0)
        outbox = OutboxPublisher(Outbox(world.database), world.dead_letters, self.metrics, pause)
        return Pipeline(world.database, outbox, self.metrics, pause, Policies(POLICY, POLICY), VALIDATOR)

    def _monitors(self) -> tuple[OffsetRegressionMonitor, RecreatedTopicMonitor, MembershipMonitor]:
        world = self.world
        return (
            OffsetRegressionMonitor(self.dispatcher, {TOPIC: cast("Any", world.database)}, self._fenced),
            RecreatedTopicMonitor(
                lambda: self.assignment.topic_ids,
                lambda topics: dict.fromkeys(topics, world.log.topic_id),
                self.assignment.start,
            ),
            MembershipMonitor(
                TOPIC, NO_MEMBER_LIMIT_S, lambda: self.assignment.group_error, lambda: True, on_lost=self._lost
            ),
        )

    def _lost(self, error: str) -> None:
        """End as the product does, with exit code 70; it is started again."""
        self.world.judge.worker_ends(self, error)
        self.process.kill()

    async def _process(self, pipeline: Pipeline, batch: Batch) -> OutcomeCounts:
        if batch.borders:
            self.world.faults.happened(Fault.JOINED)
        return await pipeline.process(batch)

    def _run(self, part: Coroutine[Any, Any, None]) -> None:
        task = self.world.loop.create_task(part, context=self.process.context)
        self.world.keep(task)

    async def _begin(self) -> None:
        self.assignment.start(self.consumer.assignment())

    def _fatal(self, error: BaseException) -> None:
        if not self.process.is_dead:
            self.world.loop.violate(error)

    async def _fenced(self, partition: TopicPartition) -> None:
        self.world.faults.happened(Fault.FENCED)
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

    async def _assigned(self, partitions: list[int]) -> None:
        self.world.loop.tell(f"assigned {partitions}")
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
        except OffsetLostError:
            self.assignment.start(partitions)
            return False
        for tp, found in fetched.items():
            records, begin = found.records, 0
            while begin < len(records):
                if not self.flows:
                    return False
                size = self.world.rng.randint(1, 4)
                self.world.loop.tell(f"delivers {[r.offset for r in records[begin : begin + size]]} of {tp.partition}")
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
