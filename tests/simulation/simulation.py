"""One world: two workers, two partitions, a database, a dead letter topic, and a seed that decides everything."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any, TypeVar
from unittest import mock

import keepstream.app.process.exit
import keepstream.processors.dispatcher
from keepstream.app.config.kafka import KafkaSettings
from keepstream.app.testing.memory import MemoryDeadLetters, MemoryStore
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import RecordError, Step
from keepstream.schemas.record import Record, record_id
from tests.builders import make_failure, make_record
from tests.simulation.fake_servers import PARTITIONS, Database, DeadLetterTopic, Network
from tests.simulation.faults import Fault, Faults
from tests.simulation.group import Group
from tests.simulation.invariants import Judge, require
from tests.simulation.log import TOPIC, Log, PartitionLog
from tests.simulation.loop import Process, SimulationLoop, current_process
from tests.simulation.replays import replay_all
from tests.simulation.snapshots import Memory
from tests.simulation.traffic import BAD, POISON, SLOW, UNDELIVERABLE, UNHOLDABLE, Traffic
from tests.simulation.worker import Gauges, Worker
from tests.unit.pipeline_fixture import too_slow

T = TypeVar("T")
WORKERS = 2
ROUNDS = 4
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
        self.log = Log(self.rng, self.faults, [PartitionLog(number) for number in range(PARTITIONS)])
        self.group = Group(self.loop, self.rng, PARTITIONS)
        self.traffic = Traffic(self.rng, self.faults)
        self.bad = BAD
        self.memory = MemoryStore(refuse=self._refuse)
        self.letters = MemoryDeadLetters()
        self.judge = Judge(self)
        network = Network(self.loop, self.rng, self.faults)
        self.database = Database(network, self.memory, self.judge.settlement_committed)
        self.dead_letters = DeadLetterTopic(network, self.letters, self.judge.letter_published)
        self.kafka = KafkaSettings()
        self.workers: dict[Process, Worker] = {}
        self.gauges: list[Gauges] = []
        self.digest = ""
        self.violation: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def run(self) -> None:
        self.loop.run_world(self._live())

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a part of a worker, and see to it that it does not fail unseen."""
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def event_in(self, record: Record) -> ValidEvent | None:
        """Return what has to be stored of a record; None when nothing can ever store it."""
        event = self.event_of(record)
        return None if event is None or event.event_id in self.bad else event

    def event_of(self, record: Record) -> ValidEvent | None:
        """Return the event that a record holds, whether or not the database takes it."""
        return _event_in(record.value)

    def settled_to(self, log: PartitionLog) -> int:
        """Return where the database says that a partition stands; 0 for an offset of the topic of this name before."""
        if self.memory.topic_ids.get((TOPIC, log.number), self.log.topic_id) != self.log.topic_id:
            return 0
        return self.memory.next_offsets.get((TOPIC, log.number), 0)

    async def _live(self) -> None:
        for number in range(WORKERS):
            self._start_worker(f"w{number}")
        for _ in range(ROUNDS):
            earlier = Memory.of(self)
            self._produce()
            await asyncio.sleep(self.rng.random() * 4)
            self._trouble(earlier)
        await self._rest()
        self.judge.world_at_rest()
        await self._replay()
        self.digest = self._summary()

    async def _replay(self) -> None:
        """Send the dead home, some of them healed, and see that they are treated as anything else."""
        published = self.letters.records
        if not published:
            return
        self.faults.active = True
        if self.rng.random() < 0.5:
            self.bad = frozenset()
        sent = replay_all(published, self.faults)
        for letter in sent:
            self.log.append(self.rng.randrange(PARTITIONS), letter.value, letter.headers)
        await self._rest()
        self.judge.world_at_rest()

    async def _rest(self) -> None:
        self.faults.active = False
        self.database.is_away = False
        self.database.overloaded_to_s = min(self.database.overloaded_to_s, self.loop.time())
        self.group.refuses_to_s = min(self.group.refuses_to_s, self.loop.time())
        deadline = self.loop.time() + CALM_LIMIT_S
        while not self._is_settled():
            require(self.loop.time() < deadline, "R", f"the world does not come to rest: {self.memory.next_offsets}")
            await asyncio.sleep(1.0)

    def _is_settled(self) -> bool:
        is_any_owed = any(log.owed(self.settled_to(log)) for log in self.log.partitions)
        return not (is_any_owed or self._is_pending()) and self._is_complete()

    def _is_complete(self) -> bool:
        """Whether every worker lives and is a member of the group."""
        return len(self.workers) == WORKERS and all(worker.is_member for worker in self.workers.values())

    def _is_pending(self) -> bool:
        """Whether a letter waits for its publication."""
        return any(self.memory.outbox.values())

    def _refuse(self, method: str, events: Sequence[ValidEvent]) -> None:
        """Refuse as PostgreSQL does: the whole statement, for one bad row."""
        bad = {event.event_id for event in events} & self.bad
        if bad & POISON or any(UNHOLDABLE in event.document for event in events):
            raise RecordError(make_failure())
        if bad & SLOW:
            raise too_slow()
        if bad & UNDELIVERABLE and method != Step.STORE:
            raise RecordError(make_failure(step=Step.METRICS if method == Step.METRICS else Step.STORE))

    def _produce(self) -> None:
        for _ in range(self.rng.randint(1, 5)):
            self.log.append(self.rng.randrange(PARTITIONS), self.traffic.value())

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

    def _trouble(self, earlier: Memory) -> None:
        fault = self.faults.event()
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
            case _ if not (self._happens(fault) or self._takes_something(fault, earlier)):
                return
        self.faults.happened(fault)

    def _happens(self, fault: Fault) -> bool:
        """Do what needs no worker; say whether it was that."""
        match fault:
            case Fault.STORE_OUTAGE:
                self.database.is_away = True
                self.loop.after(self.rng.random() * 20, setattr, self.database, "is_away", False)
            case Fault.GROUP_REFUSES:
                self.group.refuse(self.rng.random() * 40)
            case Fault.RECREATED:
                self._recreate()
            case Fault.OFFSETS_DELETED if self.log.committed:
                self.log.committed.clear()
            case _:
                return False
        return True

    def _takes_something(self, fault: Fault, earlier: Memory) -> bool:
        """Do what may turn out to be nothing; say whether it was something."""
        match fault:
            case Fault.RETENTION:
                return self._delete_old()
            case Fault.STORE_FORGETS:
                return earlier.restore(self)
            case Fault.STORE_OVERLOADED:
                return self.database.overload(self.rng.random() * 20)
        return False

    def _delete_old(self) -> bool:
        """Delete the first records of a partition, read or not; say whether an unread one was among them."""
        log = self.rng.choice(self.log.partitions)
        log.start = self.rng.randint(log.start, log.end)
        unread = {record.offset for record in log.between(self.settled_to(log), log.start)}
        log.unread |= unread
        return bool(unread)

    def _recreate(self) -> None:
        """Put another topic of the same name in the place of this one, and fill it at once."""
        for log in self.log.partitions:
            log.unread |= {record.offset for record in log.between(self.settled_to(log), log.end)}
        self.log.recreate()
        for _ in range(self.rng.randint(0, 12)):
            self.log.append(self.rng.randrange(PARTITIONS), self.traffic.value())

    def _summary(self) -> str:
        rows = sorted((name, row.status, row.document) for name, row in self.memory.rows.items())
        letters = [*map(record_id, self.letters.records)]
        offsets, fired = sorted(self.memory.next_offsets.items()), sorted(self.faults.fired.items())
        return repr((self.loop.steps, round(self.loop.time(), 6), self.memory.totals, offsets, rows, letters, fired))


@lru_cache(maxsize=10_000)
def _event_in(value: bytes | None) -> ValidEvent | None:
    """Validate a value; many worlds have the same."""
    verdict = validate(make_record(value))
    return verdict if isinstance(verdict, ValidEvent) else None


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
