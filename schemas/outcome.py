"""What became of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import Failure
from keepstream.schemas.record import KafkaRecord


class Outcome(StrEnum):
    """The ways a record can end; their sum is what was consumed."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    DEAD_LETTERED = "dead_lettered"


@dataclass(slots=True)
class OutcomeCounts:
    """How many records of a batch met which fate.

    ``updated`` are those duplicates that carried a newer version of a row and replaced it.
    """

    delivered: int = 0
    duplicate: int = 0
    stale: int = 0
    dead_lettered: int = 0
    updated: int = 0

    @property
    def total(self) -> int:
        return self.delivered + self.duplicate + self.stale + self.dead_lettered

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        return OutcomeCounts(
            self.delivered + other.delivered,
            self.duplicate + other.duplicate,
            self.stale + other.stale,
            self.dead_lettered + other.dead_lettered,
            self.updated + other.updated,
        )


@dataclass(frozen=True, slots=True)
class BatchRange:
    """The stretch of one partition that a batch covers.

    ``expected_offset`` is where the partition stood before it (the fence), ``next_offset`` where it stands after.
    Records need not be contiguous: compaction, aborted transactions and markers leave holes.
    ``records`` is how many were taken off the log: what the counters must add up to.
    """

    topic: str
    partition: int
    expected_offset: int
    next_offset: int
    records: int

    def __contains__(self, offset: int) -> bool:
        return self.expected_offset <= offset < self.next_offset


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything one transaction writes about a batch: events, dead letters, counters and the consumed offset.

    ``counts`` are the duplicates and stale records that were dropped before. ``outbox`` are the dead letters as they
    will be published.
    """

    offset_range: BatchRange
    events: Sequence[ValidEvent]
    dead_letters: Sequence[DeadLetter] = ()
    counts: OutcomeCounts = field(default_factory=OutcomeCounts)
    outbox: Sequence[KafkaRecord] = ()


OPEN_COUNT_LIMIT = 100_000
"""Open dead letters are counted up to here: a gauge need not cost a long scan."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact totals over all partitions and all workers, and the dead letters nobody has dealt with."""

    outcomes: Mapping[str, int]
    """Outcome -> records, as in `keepstream.schemas.outcome.Outcome`."""
    open_dead_letters: int
    """At most `OPEN_COUNT_LIMIT`."""
    oldest_open_at: datetime | None
    replay_outcomes: Mapping[str, int]
    """``replayed``, ``skipped``, ``failed`` -> letters, over all replays."""
    topics: Sequence[str] = ()
    """Every topic whose events are in the tables."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The dead letters that the broker has confirmed, and why it has not confirmed the others."""

    record_ids: Mapping[int, str | None] = field(default_factory=dict)
    """Offset of the source record -> record id in the dead letter topic, None where the broker did not return it."""
    failure: Failure | None = None
