"""Input and result types of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Check:
    """One equation between two numbers. Without a topic it covers all partitions together."""

    claim: str
    left: int
    right: int
    topic: str | None = None
    partition: int | None = None

    @property
    def holds(self) -> bool:
        return self.left == self.right


@dataclass(frozen=True, slots=True)
class PartitionAccount:
    """Offsets, counters and row counts of one partition in PostgreSQL, read in one snapshot.

    ``consumed`` and ``skipped`` were written with the offset, ``total`` and the outcomes with the counters; ``rows``
    and ``dead_letters`` are counted in their tables. ``behind`` are pending rows before ``next_offset``, ``ahead``
    delivered rows and dead letters at or beyond it. ``pruned``: rows that `keepstream db prune` deleted. ``rewound``:
    the topic was re-created, so offsets of the old one are void.
    """

    topic: str
    partition: int
    first_offset: int
    next_offset: int
    consumed: int
    skipped: int
    rewound: bool
    total: int
    delivered: int
    duplicate: int
    stale: int
    ignored: int
    dead_lettered: int
    dead_letters: int
    rows: int
    behind: int
    ahead: int
    pruned: int = 0
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class AuditWindow:
    """The offset range ``[start, end)`` of a partition that a deep audit reads again.

    ``log_start`` is the first offset that the topic still has: before it, only dead letters can be checked.
    """

    partition: int
    start: int
    end: int
    log_start: int
    rewound: bool = False
    incarnation: int = 0

    @property
    def reads(self) -> tuple[int, int]:
        return max(self.start, self.log_start), self.end


class DiscrepancyKind(StrEnum):
    """How the outcome of a record can be wrong."""

    MISSING = "missing"
    """Neither in ``events`` nor in the dead letter topic."""
    DEAD_LETTER_LOST = "letter_lost"
    """Counted as dead-lettered, neither replayed nor discarded, and absent from the dead letter topic."""
    OUTDATED = "outdated"
    """Only an older version of the event is stored: this record's newer one is lost."""
    BOTH = "both"
    """Stored, and dead-lettered as well."""
    UNCOUNTED = "uncounted"
    """In the dead letter topic, and in no counter."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One record whose outcome is not exactly one of stored and dead-lettered."""

    kind: DiscrepancyKind
    topic: str
    partition: int
    offset: int
    event_id: str | None = None
