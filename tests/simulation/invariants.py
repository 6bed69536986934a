"""The promise, checked: at every commit while a world runs, and over everything at its end.

L nothing is lost: each record is stored or dead-lettered. C counters are exact. O no committed offset passes what is
not settled. D dead letters are exact, and single unless a fault explains a copy. V the newest version wins. R the world
comes to rest by itself. M each live worker is a member of its group in the end. T each topic has its own database and
dead letters. I a topic goes on while the database of another one is away (isolation.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import Verdict
from keepstream.schemas.outcome import Settlement
from keepstream.schemas.record import KafkaRecord, Record, record_id
from tests.simulation import simulation, topics, worker
from tests.simulation.faults import DLQ_COPIES, OF_WORKERS, Fault
from tests.simulation.log import PartitionLog
from tests.simulation.loop import Violation
from tests.simulation.traffic import BAD, IGNORED, SLOW

REFUSED_BEFORE_S = 10.0
"""So soon after its group takes members again a worker is one."""


def require(holds: object, invariant: str, what: str) -> None:
    if not holds:
        raise Violation(f"{invariant}: {what}")


@dataclass(slots=True)
class Judge:
    """Sees everything of a topic, changes nothing. Raises Violation."""

    world: simulation.World
    topic: topics.Topic
    consumed: int = 0
    ignored: int = 0

    def settlement_committed(self, settlement: Settlement) -> None:
        """Check the transaction that was committed just now."""
        offset_range, store = settlement.offset_range, self.topic.memory
        require(offset_range.topic == self.topic.name, "T", f"{offset_range} is in the database of {self.topic.name}")
        self._note_same_ids(settlement)
        log = self.topic.log.partitions[offset_range.partition]
        there = {record.offset for record in log.between(offset_range.expected_offset, offset_range.next_offset)}
        unread = len(there & log.unread)
        is_whole = len(there) - unread <= offset_range.records <= len(there)
        # A range may have begun in the topic of this name before.
        require(is_whole or log.former, "L", f"{offset_range} settles {len(there)} records")
        self.consumed += offset_range.records
        passed = [r for r in log.between(offset_range.expected_offset, offset_range.next_offset) if r.value in IGNORED]
        read = sum(record.offset not in log.unread for record in passed)
        ignored = settlement.counts.ignored
        require(read <= ignored <= len(passed) or log.former, "C", f"{offset_range} ignores {ignored} of {len(passed)}")
        self.ignored += ignored
        for letter in settlement.dead_letters:
            self._check_verdict(letter)
        waiting = store.outbox.get((offset_range.topic, offset_range.partition), {}).keys()
        dead = {letter.id for letter in settlement.dead_letters}
        # A database that went back may hold again what was published; the next check of the stored offsets finds it.
        is_bounded = waiting == dead or (waiting > dead and self.topic.has_forgotten)
        require(is_bounded, "L", f"{offset_range} settles {dead} and leaves {waiting} in the outbox")
        totals, delivered = store.totals, sum(row.status == "delivered" for row in store.rows.values())
        require(totals.total == self.consumed, "C", f"{self.consumed} records are settled, {totals} counted")
        require(totals.ignored == self.ignored, "C", f"{self.ignored} records were ignored, {totals} counted")
        require(totals.delivered == delivered, "C", f"{delivered} rows are delivered, {totals} counted")
        known = len(store.dead_letters)
        require(totals.dead_lettered == known, "C", f"{known} dead letters, {totals} counted")

    def letter_published(self, letter: KafkaRecord) -> None:
        """Check a letter that the dead letter topic is about to take."""
        letter_id = DeadLetterRecord(letter).id
        require(letter.topic == self.topic.name, "T", f"{letter_id} is published to the letters of {self.topic.name}")
        is_decided = letter_id in self.topic.memory.dead_letters
        require(is_decided or self.topic.has_forgotten, "D", f"{letter_id} is published, but not decided")

    def offset_committed(self, partition: int, offset: int) -> None:
        """Check what the group commits to Kafka."""
        log = self.topic.log.partitions[partition]
        settled_to = self.topic.settled_to(log)
        passed = [record for record in log.owed(settled_to) if record.offset < offset]
        # A database that went back is behind what was settled and committed before: where a start decides, it wins.
        # So it does where the topic was re-created: what is still committed is of the one before.
        passed = [] if self.topic.has_forgotten or log.former else passed
        where = f"{self.topic.name}-{partition}"
        require(not passed, "O", f"offset {offset} of {where} is committed, settled is {settled_to}")

    def at_rest(self) -> None:
        """Check everything once more, record by record."""
        for log in self.topic.log.partitions:
            owed = log.owed(self.topic.settled_to(log))
            require(not owed, "R", f"never settled: {owed}")
        counted = sum(gauges.gaps[self.topic.name] for gauges in self.world.gauges)
        passed = self.topic.database.skipped_in_gaps
        require(counted <= passed, "G", f"retention deleted {passed} offsets unread, and {counted} are counted")
        self._check_letters()
        self._check_rows()

    def _check_verdict(self, letter: DeadLetter) -> None:
        """Trouble of the environment is no reason to die."""
        verdict, record = letter.failure.verdict, letter.record
        if verdict is Verdict.EXHAUSTED:
            self.topic.faults.happened(Fault.EXHAUSTED)
            event = self.topic.event_of(record)
            is_slow = event is not None and event.event_id in SLOW
            require(is_slow, "D", f"{letter.id} died of its environment: {letter.failure}")
        else:
            require(verdict is Verdict.RECORD, "D", f"{letter.id} died with verdict {verdict}")
            event = self.topic.event_in(record)
            is_good = event is not None and event.event_id not in BAD  # it may have died before it was healed
            require(not is_good, "D", f"{letter.id} died, and there is nothing wrong with it")

    def _note_same_ids(self, settlement: Settlement) -> None:
        for other in self.topic.others:
            if any(event.event_id in other.memory.rows for event in settlement.events):
                self.topic.faults.happened(Fault.SAME_ID)

    def _check_letters(self) -> None:
        originals = {_key(record): record for log in self._logs() for record in log.records}
        happened = self.topic.faults.fired.keys() | (OF_WORKERS & self.world.fired.keys())
        explained = DLQ_COPIES & happened
        published = Counter(DeadLetterRecord(letter).id for letter in self.topic.letters.records)
        for letter_id, copies in published.items():
            require(copies == 1 or explained, "D", f"{letter_id} stands {copies} times in the topic, without a fault")
            is_known = letter_id in self.topic.memory.dead_letters or self.topic.has_forgotten
            require(is_known, "D", f"{letter_id} is in the topic, and PostgreSQL does not know it")
        for letter_id in self.topic.memory.dead_letters:
            require(published[letter_id], "L", f"{letter_id} is decided, and was never published")
        for letter in self.topic.letters.records:
            record = originals[_key(letter)]
            is_same = (letter.key, letter.value) == (record.key, record.value)
            require(is_same, "D", f"{record_id(letter)} was changed")

    def _check_rows(self) -> None:
        """Each record that did not die has its row, and no row is older than that."""
        self._check_origin_of_rows()
        dead = {_key(letter.record) for letter in self.topic.memory.dead_letters.values()}
        for record in self._records():
            if record.value in IGNORED:
                require(_key(record) not in dead, "D", f"{record} was to be ignored, and died")
                continue
            if _key(record) in dead:
                continue
            event = self.topic.event_in(record)
            if event is None:
                raise Violation(f"D: {record} should have died")
            row = self.topic.memory.rows.get(event.event_id)
            if row is None:
                raise Violation(f"L: {record} is neither stored nor dead")
            require(row.version[0] >= parse_timestamp(event.timestamp), "V", f"{record} is newer than its row {row}")
            is_ended = row.status == "delivered" or self._died(event.event_id)
            require(is_ended, "C", f"{record} waits for ever in {row}")

    def _check_origin_of_rows(self) -> None:
        """Each row is what a record of this topic holds: the other topic has events of the same ids."""
        events = [self.topic.event_of(record) for log in self._logs() for record in log.records]
        written = {_content(event.document) for event in events if event}
        for row in self.topic.memory.rows.values():
            require(_content(row.document) in written, "T", f"{row} is of no record of {self.topic.name}")

    def _died(self, event_id: str) -> bool:
        return any(letter.event_id == event_id for letter in self.topic.memory.dead_letters.values())

    def _records(self) -> Iterator[KafkaRecord]:
        """Yield all that had to be settled. A database that went back cannot read a deleted topic again."""
        for log in self.topic.log.partitions if self.topic.has_forgotten else self._logs():
            yield from log.owed(0)

    def _logs(self) -> Iterator[PartitionLog]:
        for log in self.topic.log.partitions:
            yield from (*log.former, log)


def check_end(world: simulation.World, ended: worker.Worker, error: str) -> None:
    """Check the reason why a worker ended itself: its group has not taken it, and no client can help that."""
    is_refused = world.loop.time() < world.group.refuses_to_s + REFUSED_BEFORE_S
    require(ended.coordinator.is_stuck or is_refused, "M", f"{ended.process.name} ended: {error}")


def check_members(world: simulation.World) -> None:
    for one in world.workers.values():
        require(one.is_member, "M", f"{one.process.name} lives and is no member of its group")


def _content(document: bytes) -> bytes:
    """Return a document without the offset that it was read at."""
    return document.partition(b'"@offset"')[0]


def _key(record: Record) -> tuple[int, int, int]:
    """Tell records of equal offsets apart, of a topic and of the one of the same name before."""
    return record.partition, record.offset, record.timestamp
