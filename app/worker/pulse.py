"""Once a second: the loop turns, the lanes get on, the gauges are fresh. Every ten: the parts outside answer."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from keepstream.app.worker.assignment import Assignment
    from keepstream.app.worker.health import Health
    from keepstream.processors.dispatcher import Place
    from keepstream.processors.partition_queue import Lane
    from keepstream.sinks.prometheus.metrics import PrometheusMetrics

BEAT_S = 1.0
LOOP_LAG_WINDOW = 15
"""Beats over which the worst lateness is shown: as long as a usual scrape interval."""


@dataclass(slots=True)
class Pulse:
    """``check`` is called with each beat, and ends the process where going on is pointless."""

    metrics: PrometheusMetrics
    health: Health
    assignment: Assignment
    check: Callable[[], None]
    _late_s: deque[float] = field(default_factory=lambda: deque(maxlen=LOOP_LAG_WINDOW))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._late_s.append(max(0.0, loop.time() - due))
            self.beat()

    def beat(self) -> None:
        """Look at everything once."""
        self.metrics.loop_lag.set(max(self._late_s, default=0.0))
        self.health.beat()
        self.check()
        lanes = self.assignment.lanes.all()
        lags = {(topic, partition): lag for topic, partition, lag in self.assignment.lags()}
        self._show(lanes, lags)

    def _show(self, lanes: list[Lane], lags: dict[Place, int]) -> None:
        for (topic, partition), lag in lags.items():
            self.metrics.lag.labels(topic, str(partition)).set(lag)
        for lane in lanes:
            oldest = self.metrics.oldest_unsettled.labels(lane.topic, str(lane.partition))
            oldest.set(_oldest_s(lane))
        self.metrics.buffered.set(sum(lane.size_bytes for lane in lanes))


def _oldest_s(lane: Lane) -> float:
    """Return when the oldest unsettled record was written, in seconds since 1970; now when there is none."""
    timestamp_ms = lane.unsettled[0].records[0].timestamp if lane.unsettled else -1
    return timestamp_ms / 1000 if timestamp_ms > 0 else time.time()
