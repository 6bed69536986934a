"""The outcome of a batch: its range, its settlement, and its counts."""

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
    """The outcome of a record; the counts of all outcomes add up to the consumed records."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    IGNORED = "ignored"
    DEAD_LETTERED = "dead_lettered"


@dataclass(slots=True)
class OutcomeCounts:
    """The number of records per outcome. ``updated`` are the duplicates that replaced a row by a newer version."""

    delivered: int = 0
    duplicate: int = 0
    stale: int = 0
    dead_lettered: int = 0
    updated: int = 0
    ignored: int = 0

    @property
    def total(self) -> int:
        return self.delivered + self.duplicate + self.stale + self.ignored + self.dead_lettered

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        return OutcomeCounts(  # not by `astuple`, which copies deeply: a tenth of what a simulated world takes
            self.delivered + other.delivered, self.duplicate + other.duplicate, self.stale + other.stale,
            self.dead_lettered + other.dead_lettered, self.updated + other.updated, self.ignored + other.ignored,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class BatchRange:
    """The offset range of a batch, ``[expected_offset, next_offset)``, and the number of its records.

    ``expected_offset`` is the stored offset before it (the fence). Offsets need not be contiguous: compaction, aborted
    transactions and markers leave holes. ``records`` is what the counters must add up to.
    ``incarnation`` and ``topic_id`` are those of `Incarnation`, and part of the fence.
    """

    topic: str
    partition: int
    expected_offset: int
    next_offset: int
    records: int
    incarnation: int = 0
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Everything that one transaction writes of a batch: events, dead letters, counters and the offset.

    ``counts`` are the duplicate, stale and ignored records that were dropped before. ``outbox`` are the dead letters as
    they will be published.
    """

    offset_range: BatchRange
    events: Sequence[ValidEvent]
    dead_letters: Sequence[DeadLetter] = ()
    counts: OutcomeCounts = field(default_factory=OutcomeCounts)
    outbox: Sequence[KafkaRecord] = ()


OPEN_COUNT_LIMIT = 100_000
"""Limit of the count of open dead letters: a gauge must not cost a long scan."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Exact totals of all partitions and workers, and the unresolved dead letters."""

    outcomes: Mapping[str, int]
    """`Outcome` -> records."""
    open_dead_letters: int
    """At most `OPEN_COUNT_LIMIT`."""
    oldest_open_at: datetime | None
    replay_outcomes: Mapping[str, int]
    """``replayed``, ``skipped``, ``failed`` -> dead letters of all replays."""
    topics: Sequence[str] = ()
    """Every topic whose events are in the tables."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The dead letters that the broker has confirmed, and why it has not confirmed the others."""

    record_ids: Mapping[str, str | None] = field(default_factory=dict)
    """Id of the dead letter -> its record id in the dead letter topic, None where the broker did not return it."""
    failure: Failure | None = None
