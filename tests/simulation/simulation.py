"""One world: two workers, one topic or two with a database each, and a seed that decides everything."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar
from unittest import mock

import keepstream.app.process.exit
import keepstream.processors.dispatcher
from keepstream.app.config.kafka import KafkaSettings
from tests.simulation.faults import Fault, Faults
from tests.simulation.group import Group
from tests.simulation.invariants import check_members, require
from tests.simulation.isolation import stop_one_database
from tests.simulation.loop import Process, SimulationLoop, current_process
from tests.simulation.snapshots import Memory
from tests.simulation.topics import Topic
from tests.simulation.worker import Gauges, Worker

T = TypeVar("T")
WORKERS = 2
ROUNDS = 4
PARTITIONS = {"events": 2, "orders": 1}
"""By topic. Most worlds have the first one only."""
TWO_TOPICS_EVERY = 5
CALM_LIMIT_S = 300.0
"""Once the faults end, a world has to come to rest within this time."""


class World:
    """Everything there is. ``run`` raises what is violated."""

    def __init__(self, seed: int, *, story: bool = False) -> None:
        self.rng = random.Random(seed)
        self.faults = Faults(self.rng)
        self.loop = SimulationLoop(self.rng, self.faults)
        self.loop.story = [] if story else None
        self.faults.tell = self.loop.tell
        self.topics: dict[str, Topic] = {}
        self._add_topics(2 if seed % TWO_TOPICS_EVERY == TWO_TOPICS_EVERY - 1 else 1)
        partitions = [partition for topic in self.topics.values() for partition in topic.partitions]
        self.group = Group(self.loop, self.rng, partitions)
        self.kafka = KafkaSettings()
        self.workers: dict[Process, Worker] = {}
        self.gauges: list[Gauges] = []
        self.digest = ""
        self.violation: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def fired(self) -> Counter[Fault]:
        """How often each fault happened, to whichever topic."""
        fired = Counter(self.faults.fired)
        for topic in self.topics.values():
            if topic.faults is not self.faults:
                fired.update(topic.faults.fired)
        return fired

    def run(self) -> None:
        self.loop.run_world(self._live())

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a part of a worker, and see to it that it does not fail unseen."""
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def calm(self) -> None:
        """Let nothing more go wrong."""
        self.faults.active = False
        for topic in self.topics.values():
            topic.calm()
        self.group.refuses_to_s = min(self.group.refuses_to_s, self.loop.time())

    def is_complete(self) -> bool:
        """Whether every worker lives, runs, stays, and is a member of the group, which has no other."""
        are_leaving = (process.is_frozen or worker.is_draining for process, worker in self.workers.items())
        return self._has_all_members() and not any(are_leaving) and {*self.group.members} == {*self.workers.values()}

    async def wait_until(self, holds: Callable[[], bool], otherwise: str) -> None:
        """Return once that holds. Raises Violation when it never does."""
        deadline = self.loop.time() + CALM_LIMIT_S
        while not holds():
            require(self.loop.time() < deadline, "R", otherwise)
            await asyncio.sleep(1.0)

    def _add_topics(self, count: int) -> None:
        for name in [*PARTITIONS][:count]:
            faults = self.faults if count == 1 else Faults(self.rng, tell=partial(self._tell_of, name))
            self.topics[name] = Topic(self, name, PARTITIONS[name], faults)

    def _tell_of(self, topic: str, what: object) -> None:
        self.loop.tell(f"{topic}: {what}")

    async def _live(self) -> None:
        for number in range(WORKERS):
            self._start_worker(f"w{number}")
        topics = [*self.topics.values()]
        is_one_stopped = len(topics) > 1 and self.rng.random() < 0.5
        for _ in range(ROUNDS // 2 if is_one_stopped else ROUNDS):
            earlier = [Memory.of(topic) for topic in topics]
            for topic in topics:
                topic.produce()
            await asyncio.sleep(self.rng.random() * 4)
            for topic, memory in zip(topics, earlier, strict=True):
                self._trouble(topic, memory)
        if is_one_stopped:
            await stop_one_database(self)
        await self._rest()
        self._judge()
        await self._replay()
        self.digest = self._summary()

    async def _replay(self) -> None:
        """Replay the dead letters of each topic that has any."""
        topics = [topic for topic in self.topics.values() if topic.letters.records]
        if not topics:
            return
        self.faults.active = True
        for topic in topics:
            topic.faults.active = True
            topic.replay()
        await self._rest()
        self._judge()

    async def _rest(self) -> None:
        self.calm()
        for topic in self.topics.values():
            topic.database.start()
        await self.wait_until(self._is_settled, "the world does not come to rest")

    def _judge(self) -> None:
        for topic in self.topics.values():
            topic.judge.at_rest()
        check_members(self)

    def _is_settled(self) -> bool:
        return all(topic.is_settled() for topic in self.topics.values()) and self._has_all_members()

    def _has_all_members(self) -> bool:
        return len(self.workers) == WORKERS and all(worker.is_member for worker in self.workers.values())

    def _start_worker(self, name: str) -> None:
        process = Process(name, self._died)
        worker = self.workers[process] = Worker(self, process)
        worker.start()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if error := task.exception():
            self.loop.violate(error)

    def _died(self, process: Process) -> None:
        worker = self.workers.pop(process)
        self.loop.after(self.rng.random() * 8, self.group.leave, worker)
        self.loop.after(self.rng.random() * 8, self._start_worker, process.name)

    def _trouble(self, topic: Topic, earlier: Memory) -> None:
        """Let something happen by itself: to a worker, to the group, or to this topic."""
        fault = topic.faults.event()
        if fault is None:
            return
        worker = self.rng.choice([*self.workers.values()]) if self.workers else None
        match fault:
            case Fault.FREEZE if worker:
                self.loop.freeze(worker.process, self.rng.random() * 25)
            case Fault.DRAIN if worker:
                worker.drain()
            case Fault.REDELIVERY if worker and worker.flows:
                worker.redeliver()
            case Fault.STEAL | Fault.REBALANCE:
                self.group.rebalance(steal=fault is Fault.STEAL)
            case Fault.LEFT_FOR_EVER if worker and worker.is_member:
                worker.coordinator.is_stuck = True
                self.group.lose(worker)
            case _ if not (self._happens(fault, topic) or _takes_something(fault, topic, earlier)):
                return
        topic.faults.happened(fault)

    def _happens(self, fault: Fault, topic: Topic) -> bool:
        """Do what needs no worker; say whether it was that."""
        match fault:
            case Fault.STORE_OUTAGE:
                topic.database.is_away = True
                self.loop.after(self.rng.random() * 20, setattr, topic.database, "is_away", False)
            case Fault.GROUP_REFUSES:
                self.group.refuse(self.rng.random() * 40)
            case Fault.RECREATED:
                topic.recreate()
            case Fault.OFFSETS_DELETED if topic.log.committed:
                topic.log.committed.clear()
            case _:
                return False
        return True

    def _summary(self) -> str:
        topics = [topic.summary() for topic in self.topics.values()]
        return repr((self.loop.steps, round(self.loop.time(), 6), *topics, sorted(self.fired.items())))


def _takes_something(fault: Fault, topic: Topic, earlier: Memory) -> bool:
    """Do what may turn out to be nothing; say whether it was something."""
    match fault:
        case Fault.RETENTION:
            return topic.delete_old()
        case Fault.STORE_FORGETS:
            return earlier.restore(topic)
        case Fault.STORE_OVERLOADED:
            return topic.database.overload(topic.world.rng.random() * 20)
    return False


def simulate(seed: int, *, story: bool = False) -> World:
    """Run the world of a seed; its ``violation`` says what was broken, if anything was."""
    with _in_private(seed):
        world = World(seed, story=story)
        try:
            world.run()
        except Exception as error:  # noqa: BLE001 - whatever ends a world is a finding
            world.violation = error
    return world


async def _at_once(function: Callable[..., T], *arguments: Any) -> T:
    await asyncio.sleep(0)
    return function(*arguments)


@contextmanager
def _in_private(seed: int) -> Iterator[None]:
    """Lanes small enough to fill up, jitter out of the seed, no logs, and no exit of the real process."""

    def died(error: BaseException | str) -> None:
        process = current_process()
        if process is None or not process.is_dead:
            asyncio.get_running_loop().violate(error)  # type: ignore[attr-defined]

    state = random.getstate()
    with ExitStack() as stack:
        stack.callback(random.setstate, state)
        stack.callback(logging.disable, logging.root.manager.disable)
        stack.enter_context(mock.patch.object(keepstream.app.process.exit, "exit_fatal", died))
        stack.enter_context(mock.patch.object(asyncio, "to_thread", _at_once))
        stack.enter_context(mock.patch.object(keepstream.processors.dispatcher, "MIN_QUEUE_BYTES", 4000))
        logging.disable(logging.CRITICAL)
        random.seed(seed)
        yield
