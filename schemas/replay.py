"""The words of a replay: what leaves, what came of it, and the sum that has to be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

REPLAY_ID = "keepstream.dlq.replay-id"
REPLAY_OF = "keepstream.dlq.replay-of"
REPLAYED_BY = "keepstream.dlq.replayed-by"
"""Who asked for the replay."""
PARKING_SUFFIX = "-parked"
"""Of the topic that takes what was replayed too often; the rest is the dead letter topic's name."""


class LetterState(StrEnum):
    """How far a dead letter is in a replay."""

    PLANNED = "planned"
    PRODUCED = "produced"
    PARKED = "parked"
    FAILED = "failed"
    SETTLED = "settled"
    DEAD_AGAIN = "dead_again"


class ReplayRecord(NamedTuple):
    """One record that a replay produces. ``partition`` None lets the partitioner decide."""

    letter_id: str
    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int
    parks: bool = False


class DeliveryReport(NamedTuple):
    """What the broker said: where the record stands now, or why it does not."""

    letter_id: str
    topic: str
    partition: int | None
    offset: int | None
    error: str | None = None
    parked: bool = False

    @property
    def state(self) -> LetterState:
        if self.error is not None:
            return LetterState.FAILED
        return LetterState.PARKED if self.parked else LetterState.PRODUCED


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How to replay. ``changes`` are (JSON path, new text) pairs; ``rate`` is in records per second, None: no limit."""

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
    """``selected`` is counted while reading, the others are counted in the ledger: they agree or something is lost."""

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
    """A replay that was begun: everything needed to resume it."""

    id: int
    pass_number: int
    dlq_ends: Mapping[int, int]
    options: ReplayOptions = field(default_factory=ReplayOptions)
