"""What can go wrong in a simulated world, and whether it does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """Everything that a world may do to the workers. Over a suite each of them has to have happened."""

    CRASH = "a worker is killed between two steps of its event loop"
    FREEZE = "a worker stops for longer than its session (SIGSTOP), then goes on as a zombie"
    STEAL = "partitions move to another worker before the former owner hears of it"
    REBALANCE = "the group rebalances"
    DRAIN = "a worker is told to stop and drains"
    REDELIVERY = "a worker starts its partitions again"
    STORE_FAILS = "a transaction fails before COMMIT, and a retry may work"
    STORE_OVERLOADED = "for a while every statement times out, and the probe waits for the end and says healthy"
    STORE_AWAY = "a transaction fails before COMMIT, because of the environment"
    STORE_IN_DOUBT = "a transaction commits, and its client is told that it failed"
    STORE_SLOW = "a transaction takes seconds"
    STORE_OUTAGE = "the database is away for a while"
    STORE_FORGETS = "the database goes back to an earlier moment: a crash, or a standby that lagged takes over"
    GHOST = "a transaction commits after its client has died or given up"
    DLQ_FAILS = "nothing of a publication reaches the dead letter topic"
    DLQ_PARTIAL = "a part of a publication reaches the dead letter topic, and the publication fails"
    DLQ_UNCONFIRMED = "a publication reaches the dead letter topic, and is never confirmed"
    DLQ_SLOW = "the dead letter topic takes seconds"
    COMMIT_REFUSED = "Kafka refuses to commit offsets"
    OFFSETS_DELETED = "Kafka forgets the committed offsets"
    RETENTION = "Kafka deletes records that nobody has read"
    RECREATED = "the topic is deleted, created again and filled, perhaps past where its readers stood"
    GROUP_REFUSES = "for a while the group refuses every member that joins"
    LEFT_FOR_EVER = "a worker's client leaves its group, and never joins again (aiokafka issue 1187)"
    HOLE = "offsets are skipped: compaction, aborted transactions, markers"
    REJECTED = "a record breaks the contract"
    IGNORED = "a record is ignored by a rule"
    UNHOLDABLE = "a record passes the quick check and cannot be stored"
    POISON = "a record is refused by the database alone"
    UNDELIVERABLE = "a record is refused by the database when its row becomes delivered"
    SLOW_RECORD = "a record's statement always times out"
    DUPLICATE = "a record repeats an event"
    STALE = "a record is older than what it repeats"
    JOINED = "several waiting batches share a transaction"
    FENCED = "a transaction is refused, because the partition has moved on"
    EXHAUSTED = "a record dies because its retries are used up"
    BACKPRESSURE = "a queue is full"
    REPLAY_KILLED = "a replay is killed"
    CONFIRMATION_LOST = "a replayed letter goes out, and the broker's answer is lost"
    SAME_ID = "of two topics: an event id is stored in the databases of both"
    RECREATED_ALONE = "of two topics: one is re-created, and the other is not"
    OTHER_STOPPED = "of two topics: the database of one refuses every call for long, and the other topic goes on"
    OTHER_HANGS = "of two topics: the database of one answers no call for long, and the other topic goes on"
    STARTED_BESIDE = "of two topics: partitions start while the database of the other topic is away"
    FORGETS_BESIDE = "of two topics: a database goes back while that of the other topic is away"
    RECREATED_BESIDE = "of two topics: one is re-created while the database of the other is away"


RATES = {
    Fault.CRASH: 0.004, Fault.STORE_FAILS: 0.25, Fault.STORE_AWAY: 0.15, Fault.STORE_IN_DOUBT: 0.15,
    Fault.STORE_SLOW: 0.12, Fault.DLQ_FAILS: 0.3, Fault.DLQ_PARTIAL: 0.2, Fault.DLQ_UNCONFIRMED: 0.2,
    Fault.DLQ_SLOW: 0.2, Fault.COMMIT_REFUSED: 0.3, Fault.HOLE: 0.15, Fault.REJECTED: 0.12, Fault.IGNORED: 0.12,
    Fault.UNHOLDABLE: 0.08,
    Fault.POISON: 0.12, Fault.UNDELIVERABLE: 0.06, Fault.SLOW_RECORD: 0.06,
    Fault.DUPLICATE: 0.2, Fault.STALE: 0.15, Fault.REPLAY_KILLED: 0.15,
    Fault.CONFIRMATION_LOST: 0.1,
}  # fmt: skip
"""How often each may strike, per occasion: a step of the loop, a call, a record. Worlds have more or less of it."""
EVENTS = (
    Fault.FREEZE, Fault.STEAL, Fault.REBALANCE, Fault.DRAIN, Fault.REDELIVERY, Fault.STORE_OUTAGE,
    Fault.OFFSETS_DELETED, Fault.RETENTION, Fault.STORE_FORGETS, Fault.STORE_OVERLOADED,
    Fault.RECREATED, Fault.GROUP_REFUSES, Fault.LEFT_FOR_EVER,
)  # fmt: skip
"""Those that happen by themselves, now and then."""
DLQ_COPIES = frozenset({
    Fault.CRASH, Fault.FREEZE, Fault.STEAL, Fault.REBALANCE, Fault.REDELIVERY, Fault.DRAIN, Fault.GHOST,
    Fault.STORE_IN_DOUBT, Fault.DLQ_PARTIAL, Fault.DLQ_UNCONFIRMED, Fault.FENCED,
    Fault.RETENTION, Fault.STORE_FORGETS, Fault.RECREATED, Fault.GROUP_REFUSES, Fault.LEFT_FOR_EVER,
})  # fmt: skip
"""Without any of these no dead letter may stand twice in its topic."""
OF_WORKERS = frozenset({
    Fault.CRASH, Fault.FREEZE, Fault.STEAL, Fault.REBALANCE, Fault.REDELIVERY, Fault.DRAIN, Fault.GROUP_REFUSES,
    Fault.LEFT_FOR_EVER,
})  # fmt: skip
"""Those that strike all topics of a worker. Any other of one topic leaves the others alone."""


@dataclass(slots=True)
class Faults:
    """The faults of one world, or of one topic in it. Each knows some of them only, so that none hides behind another.

    The idea is swarm testing: Groce et al., "Swarm Testing", ISSTA 2012.
    """

    rng: random.Random
    rates: dict[Fault, float] = field(init=False)
    events: list[Fault] = field(init=False)
    fired: Counter[Fault] = field(default_factory=Counter)
    active: bool = True
    tell: Callable[[object], None] = lambda _what: None

    def __post_init__(self) -> None:
        share = self.rng.choice((0.0, 0.3, 0.5, 0.9))
        self.events = [fault for fault in EVENTS if self.rng.random() < share]
        self.rates = {
            fault: min(0.8, rate * self.rng.choice((0.5, 1, 3))) for fault, rate in RATES.items()
            if self.rng.random() < share
        }  # fmt: skip

    def strikes(self, fault: Fault) -> bool:
        """Say whether it happens this time; what is asked about has to do it then."""
        struck = self.active and fault in self.rates and self.rng.random() < self.rates[fault]
        if struck:
            self.happened(fault)
        return struck

    def event(self) -> Fault | None:
        """Choose what happens next by itself."""
        return self.rng.choice(self.events) if self.events and self.active else None

    def happened(self, fault: Fault) -> None:
        self.fired[fault] += 1
        self.tell(f"! {fault.name}: {fault}")
