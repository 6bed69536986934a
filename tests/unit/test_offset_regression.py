"""The watch over stored offsets: it tells of those that went back, and of no others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keepstream.app.worker.start_offsets import OffsetRegressionMonitor
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Incarnation, TopicPartition

START = 10


@dataclass
class Table:
    """What `keepstream.sinks.postgres.offsets.PostgresOffsets` would answer."""

    stored: dict[int, tuple[int, int]] = field(default_factory=dict)

    async def peek(self, topic: str) -> dict[int, tuple[int, int]]:
        return self.stored if topic == "events" else {}


async def _process(_batch: Batch) -> OutcomeCounts:
    raise NotImplementedError


async def _recovered(_queue: PartitionQueue) -> None: ...


async def _ignored(_partition: TopicPartition) -> None: ...


@pytest.mark.parametrize(
    ("stored", "rewound"),
    [
        ({0: (1, START), 1: (1, START)}, []),
        ({0: (1, START + 5), 1: (1, START)}, []),
        ({0: (1, START - 1), 1: (1, START)}, [TopicPartition("events", 0)]),
        ({0: (0, START + 5), 1: (2, 0)}, [TopicPartition("events", 0)]),
        ({1: (1, START)}, [TopicPartition("events", 0)]),
    ],
)
async def test_only_what_went_back_is_begun_again(
    stored: dict[int, tuple[int, int]], rewound: list[TopicPartition]
) -> None:
    """Per partition: the incarnation of the topic, and the offset. An older topic of the name is behind any offset."""
    dispatcher = Dispatcher(
        _process, recover=_recovered, buffer_bytes=1, on_fenced=_ignored, on_fatal=lambda _error: None
    )
    partitions = [TopicPartition("events", number) for number in range(2)]
    dispatcher.open(dict.fromkeys(partitions, START), dict.fromkeys(partitions, Incarnation(1)))
    await asyncio.sleep(0)
    told: list[TopicPartition] = []

    async def tell(place: TopicPartition) -> None:
        told.append(place)

    await OffsetRegressionMonitor(dispatcher, {"events": cast("Any", Table(stored))}, tell).check()
    assert told == rewound
    dispatcher.close(dispatcher.partitions)
