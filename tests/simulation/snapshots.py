"""A database that goes back: what it held at some moment, and how its topic returns there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from keepstream.app.testing.memory import Row
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import KafkaRecord
from tests.simulation import topics


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a database holds, and how many records the judge saw settled and ignored by then."""

    next_offsets: dict[tuple[str, int], int]
    topic_ids: dict[tuple[str, int], str | None]
    incarnations: Counter[tuple[str, int]]
    rows: dict[str, Row]
    totals: OutcomeCounts
    letters: dict[str, DeadLetter]
    outbox: dict[tuple[str, int], dict[str, KafkaRecord]]
    consumed: int
    ignored: int

    @classmethod
    def of(cls, topic: topics.Topic) -> Memory:
        store = topic.memory
        rows = {event_id: replace(row) for event_id, row in store.rows.items()}
        return cls(
            {**store.next_offsets}, {**store.topic_ids}, Counter(store.incarnations), rows,
            replace(store.totals), {**store.dead_letters}, _copy(store.outbox), topic.judge.consumed,
            topic.judge.ignored,
        )  # fmt: skip

    def restore(self, topic: topics.Topic) -> bool:
        """Return there; say whether anything was forgotten."""
        store = topic.memory
        has_forgotten = Memory.of(topic) != self
        store.next_offsets, store.dead_letters = {**self.next_offsets}, {**self.letters}
        store.rows = {event_id: replace(row) for event_id, row in self.rows.items()}
        store.totals, store.outbox = replace(self.totals), _copy(self.outbox)
        store.topic_ids, store.incarnations = {**self.topic_ids}, Counter(self.incarnations)
        topic.judge.consumed, topic.judge.ignored = self.consumed, self.ignored
        topic.database.restarts += 1
        topic.has_forgotten |= has_forgotten
        for log in topic.log.partitions:  # what retention has deleted since cannot be read again
            log.unread |= {record.offset for record in log.between(topic.settled_to(log), log.start)}
        return has_forgotten


def _copy(outbox: dict[tuple[str, int], dict[str, KafkaRecord]]) -> dict[tuple[str, int], dict[str, KafkaRecord]]:
    return {partition: {**letters} for partition, letters in outbox.items() if letters}
