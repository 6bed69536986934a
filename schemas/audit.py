"""What an audit compares and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: two numbers that must be equal. Without a topic it is about all partitions together."""

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
    """What PostgreSQL says about one partition, all of it read in one snapshot.

    ``consumed`` and ``skipped`` were written with the offset, ``total`` and the fates with the counters; ``rows`` and
    ``letters`` are counted where they lie. ``behind`` are pending rows before ``next_offset``, ``ahead`` delivered rows
    and dead letters at or beyond it. ``pruned``: rows that `keepstream db prune` deleted. ``rewound``: the topic was
    re-created, so offsets of the old one mean nothing now.
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
    dead_lettered: int
    letters: int
    rows: int
    behind: int
    ahead: int
    pruned: int = 0


@dataclass(frozen=True, slots=True)
class AuditWindow:
    """Which records of a partition to read again: offsets ``[start, end)``.

    ``held_from`` is the first offset that the topic still holds: of what lies before it, only the dead letters can be
    checked.
    """

    partition: int
    start: int
    end: int
    held_from: int
    rewound: bool = False

    @property
    def reads(self) -> tuple[int, int]:
        return max(self.start, self.held_from), self.end


class Fault(StrEnum):
    """What can be wrong with a record."""

    MISSING = "missing"
    """Neither in ``events`` nor in the dead letter topic."""
    LETTER_LOST = "letter_lost"
    """Counted as dead-lettered and neither replayed nor discarded, and the dead letter topic does not hold it."""
    OUTDATED = "outdated"
    """Only an older version of the event is stored: this record's newer one is lost."""
    BOTH = "both"
    """Stored, and dead-lettered as well."""
    UNCOUNTED = "uncounted"
    """The dead letter topic holds it, and no counter knows of it."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One record that does not end in exactly one place."""

    fault: Fault
    topic: str
    partition: int
    offset: int
    event_id: str | None = None
