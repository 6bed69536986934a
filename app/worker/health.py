"""Whether the worker is alive, and whether it is ready. Two questions, two answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keepstream.app.worker.assignment import Assignment
    from keepstream.app.worker.progress import ProgressWatch
    from keepstream.sinks.prometheus.metrics import PrometheusMetrics

LOOP_STUCK_AFTER_S = 15.0
KAFKA, POSTGRES = "Kafka", "PostgreSQL"


@dataclass(slots=True)
class Health:
    """Read from the endpoint's threads; written by the worker's loop."""

    metrics: PrometheusMetrics
    assignment: Assignment | None = None
    progress: ProgressWatch | None = None
    stopping: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    """Part -> what is wrong with it, as the last probe found it."""
    _beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._beat_at = time.monotonic()

    def alive(self) -> tuple[bool, str]:
        """Fail only when restarting would help: a stuck loop, or a partition that has work and stands still.

        Never for an outage of Kafka or PostgreSQL, nor during a rebalance.
        """
        silent_s = time.monotonic() - self._beat_at
        if silent_s > LOOP_STUCK_AFTER_S:
            return False, f"the event loop has not turned for {silent_s:.0f} s"
        if self.progress and not self.stopping and (standstill := self.progress.standstill()):
            return False, standstill
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Fail while records cannot be settled, and name every part that is missing."""
        if self.stopping:
            return False, "stopping"
        lacks = [f"{part}: {why}" for part, why in sorted(self.missing.items())]
        if self.assignment is None or not self.assignment.ready:
            lacks.append("partitions: none assigned yet, or their stored offsets are not read yet")
        pauses = self.metrics.pauses
        if pauses:
            (topic, partition), why = next(iter(sorted(pauses.items())))
            lacks.append(f"{len(pauses)} partitions are held; {topic}-{partition}: {why}")
        return (False, "; ".join(lacks)) if lacks else (True, "ready")
