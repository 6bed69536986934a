"""The watch over stored offsets: it tells of those that went back, and of no others."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keepstream.app.worker.start_offsets import CHECK_S, OffsetRegressionMonitor
from keepstream.processors.dispatcher import Dispatcher
from keepstream.processors.partition_queue import Batch, PartitionQueue
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Incarnation, TopicPartition
from tests.virtual_time import run_virtually

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

    await OffsetRegressionMonitor(dispatcher, {"events": cast("Any", Table(stored))}, tell).check("events")
    assert told == rewound
    dispatcher.close(dispatcher.partitions)


class Hanging(Table):
    """A database that does not answer."""

    async def peek(self, topic: str) -> dict[int, tuple[int, int]]:
        await asyncio.sleep(3600)
        return await super().peek(topic)


def test_a_database_that_hangs_delays_no_other_topics_checks() -> None:
    """Simulation, seed 2939: they were compared again only once all databases had answered the check before."""
    assert run_virtually(_rewound_beside_a_hanging_database()) == [TopicPartition("events", 0)]


async def _rewound_beside_a_hanging_database() -> list[TopicPartition]:
    dispatcher = Dispatcher(
        _process, recover=_recovered, buffer_bytes=1, on_fenced=_ignored, on_fatal=lambda _error: None
    )
    dispatcher.open({TopicPartition("events", 0): START, TopicPartition("orders", 0): START})
    told: list[TopicPartition] = []

    async def tell(place: TopicPartition) -> None:
        told.append(place)

    table = Table({0: (0, START)})
    tables = {"events": cast("Any", table), "orders": cast("Any", Hanging())}
    watch = asyncio.create_task(OffsetRegressionMonitor(dispatcher, tables, tell).run())
    await asyncio.sleep(1.5 * CHECK_S)
    table.stored = {0: (0, START - 1)}
    await asyncio.sleep(CHECK_S)
    watch.cancel()
    dispatcher.close(dispatcher.partitions)
    return told
