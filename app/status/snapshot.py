"""A snapshot of the stream, and rates, lag and time to drain from two snapshots.

Without Kafka a snapshot has no ``ends``, without PostgreSQL no ``settled``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepstream.app.status.workers import WorkerMetrics
from keepstream.sinks.postgres.status import PartitionProgress

RATE_S = 10.0
"""Period of rates, once there are enough snapshots: rates over shorter periods jump."""
OUTCOMES = ("delivered", "duplicate", "stale", "ignored", "failed")
"""Outcomes, named as in `PartitionProgress`; ``failed`` is dead-lettered."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the stream. ``at``: monotonic seconds. ``ends``: partition -> (first offset, end of the log)."""

    at: float
    settled: Mapping[int, PartitionProgress]
    ends: Mapping[int, tuple[int, int]]
    workers: WorkerMetrics = field(default_factory=WorkerMetrics)
    replays: Sequence[Mapping[str, Any]] = ()
    unavailable: frozenset[str] = frozenset()
    """``ends``, ``settled``: fields that could not be read, and are not merely empty."""

    @property
    def end_sum(self) -> int:
        return sum(end for _, end in self.ends.values())

    @property
    def settled_sum(self) -> int:
        """Return the counted records. Not a sum of offsets: those jump when a partition is read first."""
        return sum(map(self.count, OUTCOMES))

    def count(self, name: str) -> int:
        """Return one of `OUTCOMES`, over all partitions."""
        return sum(getattr(one, name) for one in self.settled.values())

    def lag(self, partition: int) -> int:
        """Return the offsets between the settled offset, or the start of the log, and the end."""
        start, end = self.ends.get(partition, (0, 0))
        one = self.settled.get(partition)
        return max(0, end - max(start, one.next_offset if one else start))

    @property
    def lag_sum(self) -> int:
        return sum(map(self.lag, self.ends))


def earlier(snapshots: Sequence[Snapshot]) -> Snapshot | None:
    """Return the base snapshot of rates: about `RATE_S` before the last, else the first of several."""
    if len(snapshots) < 2:  # noqa: PLR2004 - it takes two
        return None
    return next((one for one in reversed(snapshots) if snapshots[-1].at - one.at >= RATE_S), snapshots[0])


def rate(snapshot: Snapshot, before: Snapshot | None, name: str) -> float | None:
    """Return the growth of ``end_sum`` (in) or ``settled_sum`` (out) per second.

    None without an earlier snapshot, or when the field is unavailable in one of them.
    """
    needed = "ends" if name == "end_sum" else "settled"
    if before is None or snapshot.at <= before.at or needed in snapshot.unavailable | before.unavailable:
        return None
    difference: int = getattr(snapshot, name) - getattr(before, name)
    return max(0.0, difference / (snapshot.at - before.at))


def partition_rate(snapshot: Snapshot, before: Snapshot | None, partition: int) -> float | None:
    """Return the growth of a partition's settled offset per second."""
    now, then = snapshot.settled.get(partition), before.settled.get(partition) if before else None
    if now is None or then is None or before is None or snapshot.at <= before.at:
        return None
    return max(0.0, (now.next_offset - then.next_offset) / (snapshot.at - before.at))


def drain_s(lag: int, per_s: float | None) -> float | None:
    """Return the time to drain the lag at this rate: 0 without lag, infinity at rate 0, None when unknown."""
    if lag == 0:
        return 0.0
    if per_s is None:
        return None
    return lag / per_s if per_s else math.inf


def duration_text(seconds: float | None) -> str:
    """Format a time to drain."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds == 0:
        return "now"
    if math.isinf(seconds):
        return "stands still"
    if seconds < 120:  # noqa: PLR2004
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"  # noqa: PLR2004
