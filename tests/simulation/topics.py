"""One topic of a world: its log, what producers write to it, its database and its dead letter topic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from keepstream.app.testing.memory import MemoryDeadLetters, MemoryStore
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import RecordError, Step
from keepstream.schemas.record import Record, TopicPartition, record_id
from tests.builders import make_failure, make_record
from tests.simulation import simulation
from tests.simulation.fake_servers import Database, DeadLetterTopic, Network
from tests.simulation.faults import Fault, Faults
from tests.simulation.invariants import Judge
from tests.simulation.log import Log, PartitionLog
from tests.simulation.replays import replay_all
from tests.simulation.traffic import BAD, POISON, SLOW, UNDELIVERABLE, UNHOLDABLE, Traffic
from tests.unit.pipeline_fixture import too_slow


class Topic:
    """Everything that no other topic has a part in. Its faults strike it alone."""

    def __init__(self, world: simulation.World, name: str, partitions: int, faults: Faults) -> None:
        self.world, self.name, self.faults = world, name, faults
        self.log = Log(name, world.rng, faults, [PartitionLog(number) for number in range(partitions)])
        self.traffic = Traffic(world.rng, faults, mark={} if faults is world.faults else {"topic": name})
        self.bad = BAD
        self.memory = MemoryStore(refuse=self._refuse)
        self.letters = MemoryDeadLetters()
        self.judge = Judge(world, self)
        self.has_forgotten = False
        """Whether its database went back to an earlier moment, and lost something by it."""
        network = Network(world.loop, world.rng, faults)
        self.database = Database(network, self.memory, self.judge.settlement_committed)
        self.dead_letters = DeadLetterTopic(network, self.letters, self.judge.letter_published)

    @property
    def partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self.name, log.number) for log in self.log.partitions]

    @property
    def others(self) -> list[Topic]:
        return [topic for topic in self.world.topics.values() if topic is not self]

    def event_in(self, record: Record) -> ValidEvent | None:
        """Return what has to be stored of a record; None when nothing can ever store it."""
        event = self.event_of(record)
        return None if event is None or event.event_id in self.bad else event

    def event_of(self, record: Record) -> ValidEvent | None:
        """Return the event that a record holds, whether or not the database takes it."""
        return _event_in(record.value)

    def settled_to(self, log: PartitionLog) -> int:
        """Return where the database says that a partition stands; 0 for an offset of the topic of this name before."""
        if self.memory.topic_ids.get((self.name, log.number), self.log.topic_id) != self.log.topic_id:
            return 0
        return self.memory.next_offsets.get((self.name, log.number), 0)

    def is_settled(self) -> bool:
        """Whether no record is owed, and no letter waits for its publication."""
        is_any_owed = any(log.owed(self.settled_to(log)) for log in self.log.partitions)
        return not (is_any_owed or any(self.memory.outbox.values()))

    def produce(self) -> None:
        self._append_values(self.world.rng.randint(1, 5))

    def replay(self) -> None:
        """Send the dead home, some of them healed, and see that they are treated as anything else."""
        if self.world.rng.random() < 0.5:
            self.bad = frozenset()
        for letter in replay_all(self.letters.records, self.name, self.faults):
            self.log.append(self._any_partition(), letter.value, letter.headers)

    def delete_old(self) -> bool:
        """Delete the first records of a partition, read or not; say whether an unread one was among them."""
        log = self.world.rng.choice(self.log.partitions)
        log.start = self.world.rng.randint(log.start, log.end)
        unread = {record.offset for record in log.between(self.settled_to(log), log.start)}
        log.unread |= unread
        return bool(unread)

    def recreate(self) -> None:
        """Put another topic of the same name in the place of this one, and fill it at once."""
        for log in self.log.partitions:
            log.unread |= {record.offset for record in log.between(self.settled_to(log), log.end)}
        self.log.recreate()
        self._append_values(self.world.rng.randint(0, 12))
        if any(other.log.recreations < self.log.recreations for other in self.others):
            self.faults.happened(Fault.RECREATED_ALONE)

    def calm(self) -> None:
        """Let nothing more go wrong; a database that was stopped stays so."""
        now = self.world.loop.time()
        self.faults.active = False
        self.database.is_away = False
        self.database.overloaded_to_s = min(self.database.overloaded_to_s, now)

    def summary(self) -> tuple[object, ...]:
        rows = sorted((name, row.status, row.document) for name, row in self.memory.rows.items())
        offsets, letters = sorted(self.memory.next_offsets.items()), [*map(record_id, self.letters.records)]
        return self.memory.totals, offsets, rows, letters

    def _append_values(self, count: int) -> None:
        for _ in range(count):
            self.log.append(self._any_partition(), self.traffic.value())

    def _any_partition(self) -> int:
        return self.world.rng.randrange(len(self.log.partitions))

    def _refuse(self, method: str, events: Sequence[ValidEvent]) -> None:
        """Refuse as PostgreSQL does: the whole statement, for one bad row."""
        bad = {event.event_id for event in events} & self.bad
        if bad & POISON or any(UNHOLDABLE in event.document for event in events):
            raise RecordError(make_failure())
        if bad & SLOW:
            raise too_slow()
        if bad & UNDELIVERABLE and method != Step.STORE:
            raise RecordError(make_failure(step=Step.METRICS if method == Step.METRICS else Step.STORE))


@lru_cache(maxsize=10_000)
def _event_in(value: bytes | None) -> ValidEvent | None:
    """Validate a value; many worlds have the same."""
    verdict = validate(make_record(value))
    return verdict if isinstance(verdict, ValidEvent) else None
