"""One look at the stream, and what two tell: rates, lag, time to drain. For `keepstream status` and the console.

A look may be half blind: without Kafka it has no ``ends``, without PostgreSQL no ``settled``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepstream.app.status.workers import WorkerMetrics
from keepstream.sinks.postgres.status import PartitionProgress

RATE_S = 10.0
"""Rates are over so long where there are looks enough: shorter ones jump."""
OUTCOMES = ("delivered", "duplicate", "stale", "failed")
"""As `PartitionProgress` names what became of records; ``failed`` is dead-lettered."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment. ``at``: monotonic seconds. ``ends``: partition -> (first offset, end of the log)."""

    at: float
    settled: Mapping[int, PartitionProgress]
    ends: Mapping[int, tuple[int, int]]
    workers: WorkerMetrics = field(default_factory=WorkerMetrics)
    replays: Sequence[Mapping[str, Any]] = ()
    blind: frozenset[str] = frozenset()
    """``ends``, ``settled``: what could not be seen, and is not merely empty."""

    @property
    def end_sum(self) -> int:
        return sum(end for _, end in self.ends.values())

    @property
    def settled_sum(self) -> int:
        """Return the records counted. Not a sum of offsets: those jump where a partition is first seen."""
        return sum(map(self.count, OUTCOMES))

    def count(self, name: str) -> int:
        """Return one of `OUTCOMES`, over all partitions."""
        return sum(getattr(one, name) for one in self.settled.values())

    def lag(self, partition: int) -> int:
        """Return the offsets between the settled one, or where the log begins, and the end."""
        start, end = self.ends.get(partition, (0, 0))
        one = self.settled.get(partition)
        return max(0, end - max(start, one.next_offset if one else start))

    @property
    def lag_sum(self) -> int:
        return sum(map(self.lag, self.ends))


def earlier(looks: Sequence[Look]) -> Look | None:
    """Return the look that rates are measured from: about `RATE_S` before the last, else the first of several."""
    if len(looks) < 2:  # noqa: PLR2004 - it takes two
        return None
    return next((one for one in reversed(looks) if looks[-1].at - one.at >= RATE_S), looks[0])


def rate(look: Look, before: Look | None, name: str) -> float | None:
    """Return how fast ``end_sum`` (in) or ``settled_sum`` (out) grew, per second; None when it takes another look.

    Also None where one of the looks was blind: a sum over nothing is no figure.
    """
    needed = "ends" if name == "end_sum" else "settled"
    if before is None or look.at <= before.at or needed in look.blind | before.blind:
        return None
    difference: int = getattr(look, name) - getattr(before, name)
    return max(0.0, difference / (look.at - before.at))


def partition_rate(look: Look, before: Look | None, partition: int) -> float | None:
    """Return how fast a partition's settled offset moves, per second."""
    now, then = look.settled.get(partition), before.settled.get(partition) if before else None
    if now is None or then is None or before is None or look.at <= before.at:
        return None
    return max(0.0, (now.next_offset - then.next_offset) / (look.at - before.at))


def drain_s(lag: int, per_s: float | None) -> float | None:
    """Return how long the backlog takes at this rate: 0 without one, infinity when it stands still, None: unknown."""
    if lag == 0:
        return 0.0
    if per_s is None:
        return None
    return lag / per_s if per_s else math.inf


def duration_text(seconds: float | None) -> str:
    """Return a time to drain for people."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds == 0:
        return "now"
    if math.isinf(seconds):
        return "stands still"
    if seconds < 120:  # noqa: PLR2004
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"  # noqa: PLR2004
