"""Noticing that PostgreSQL went back: a crash took its last commits, or a standby that lagged took over.

Rows, counters and offsets went back together, so what is missing only has to be read again. A partition with work to do
meets the older offset at its next batch (the fence). One that is idle would never ask: this asks for it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keepstream.processors.dispatcher import Lanes, Place
    from keepstream.processors.partition_queue import Lane
    from keepstream.sinks.postgres.offsets import PostgresOffsets

log = logging.getLogger(__name__)
CHECK_S = 2.0


@dataclass(frozen=True, slots=True)
class StoredOffsetsWatch:
    """``on_rewound`` is called with each place whose stored offset lies before what its lane has settled."""

    lanes: Lanes
    offsets: PostgresOffsets
    on_rewound: Callable[[Place], Awaitable[None]]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check()
            except (psycopg.Error, PoolTimeout, PoolClosed):
                continue  # while PostgreSQL is away there is nothing to compare with

    async def check(self) -> None:
        """Compare once. What is stored is read after what is settled was noted, so it can only be further on."""
        noted = [(lane, lane.stored_to) for lane in self.lanes.all()]
        for topic in {lane.topic for lane, _ in noted}:
            stored = await self.offsets.peek(topic)
            for lane, stored_to in noted:
                if lane.topic == topic and stored.get(lane.partition, 0) < stored_to:
                    await self._rewound(lane, stored_to, stored.get(lane.partition, 0))

    async def _rewound(self, lane: Lane, settled: int, stored: int) -> None:
        if not lane.closed:
            log.error("%s-%d: PostgreSQL went back from offset %d to %d; what lies between is read again",
                      lane.topic, lane.partition, settled, stored)  # fmt: skip
            await self.on_rewound((lane.topic, lane.partition))
