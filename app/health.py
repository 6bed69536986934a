"""Whether the worker is alive, and whether it is ready. Two questions, two answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.assignment import Assignment
    from sinks.metrics import PrometheusMetrics

LOOP_STUCK_AFTER_S = 15.0


@dataclass(slots=True)
class Health:
    """Read from the endpoint's threads; written by the worker's loop."""

    metrics: PrometheusMetrics
    assignment: Assignment | None = None
    stopping: bool = False
    _beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Say that the event loop turns."""
        self._beat_at = time.monotonic()

    def alive(self) -> tuple[bool, str]:
        """Fail only when restarting would help: a stuck loop. Never for an outage of Kafka or PostgreSQL."""
        silent_s = time.monotonic() - self._beat_at
        if silent_s > LOOP_STUCK_AFTER_S:
            return False, f"the event loop has not turned for {silent_s:.0f} s"
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        """Fail while records cannot be settled, and name what is missing."""
        if self.stopping:
            return False, "stopping"
        if self.assignment is None or not self.assignment.ready:
            return False, "waiting for partitions or for their stored offsets"
        pauses = self.metrics.pauses
        if pauses:
            (topic, partition), why = next(iter(sorted(pauses.items())))
            return False, f"{len(pauses)} partitions are held; {topic}-{partition}: {why}"
        return True, "ready"
