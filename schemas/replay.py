"""Types of a replay: options, produced records, delivery reports and the reconciliation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

REPLAY_ID = "keepstream.dlq.replay-id"
REPLAY_OF = "keepstream.dlq.replay-of"
REPLAYED_BY = "keepstream.dlq.replayed-by"
"""User who started the replay."""
TopicEnds = dict[str, dict[int, int]]
"""The offset after the last, by topic and partition."""
PARKING_SUFFIX = "-parked"
"""Suffix of the parking lot topic, after the dead letter topic's name: for records replayed too often."""


class ReplayState(StrEnum):
    """State of a dead letter within a replay."""

    PLANNED = "planned"
    PRODUCED = "produced"
    PARKED = "parked"
    FAILED = "failed"
    SETTLED = "settled"
    DEAD_AGAIN = "dead_again"


class ReplayRecord(NamedTuple):
    """One record that a replay produces. ``partition`` None lets the partitioner decide."""

    dead_letter_id: str
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int
    parks: bool = False


class DeliveryReport(NamedTuple):
    """Result of producing one record: its coordinates, or the error."""

    dead_letter_id: str
    topic: str
    partition: int | None
    offset: int | None
    error: str | None = None
    parked: bool = False

    @property
    def state(self) -> ReplayState:
        if self.error is not None:
            return ReplayState.FAILED
        return ReplayState.PARKED if self.parked else ReplayState.PRODUCED


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Options of a replay. ``changes``: (JSON path, new text) pairs. ``rate``: records per second; None: no limit."""

    target_topic: str | None = None
    same_partition: bool = False
    changes: tuple[tuple[str, str], ...] = ()
    rate: float | None = None
    limit: int | None = None
    max_replays: int = 3
    parking_topic: str = "event-dlq-parked"
    resolved_too: bool = False
    requested_by: str | None = None


@dataclass(slots=True)
class Reconciliation:
    """Totals of a replay. ``selected`` is counted while reading, the others in PostgreSQL: a loss makes them differ."""

    selected: int = 0
    replayed: int = 0
    skipped: int = 0
    failed: int = 0
    delivered: int | None = None
    dead_again: int | None = None

    @property
    def adds_up(self) -> bool:
        return self.selected == self.replayed + self.skipped + self.failed


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """A started replay: what is needed to resume it."""

    id: int
    pass_number: int
    dlq_ends: Mapping[int, int]
    options: ReplayOptions = field(default_factory=ReplayOptions)
