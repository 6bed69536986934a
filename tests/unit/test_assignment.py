"""Where lanes begin, while other workers go on working."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import psycopg
from aiokafka.structs import TopicPartition

from app.assignment import Assignment
from app.settings import KafkaSettings
from processors.dispatch import Lanes
from sinks.postgres.offsets import StoredOffset
from tests.simulation.log import Bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pytest

    from processors.lanes import Batch
    from schemas.outcome import Tally

TP = TopicPartition("events", 0)


class Elsewhere:
    """Another worker settles five new records whenever anybody waits for an answer about the partition."""

    def __init__(self) -> None:
        self.end = self.stored = 10
        self.sought: dict[TopicPartition, int] = {}
        self.rewound_to: int | None = None

    async def log_bounds(self, _places: Sequence[TopicPartition]) -> Bounds:
        bounds = Bounds({TP: 0}, {TP: self.end}, {})
        self.end = self.stored = self.end + 5
        return bounds

    async def load(self, _topic: str, _partitions: Iterable[int]) -> dict[int, StoredOffset]:
        stored = self.stored
        self.end = self.stored = self.end + 5
        return {0: StoredOffset(stored, 0)}

    async def load_topic_ids(self, _topic: str, _partitions: Iterable[int]) -> dict[int, str]:
        return {}

    async def rewind(self, *_place: object, expected_offset: int, next_offset: int) -> None:
        self.rewound_to = next_offset

    async def seek_all(self, offsets: Mapping[TopicPartition, int], _epoch: int) -> None:
        self.sought = dict(offsets)

    def assignment(self) -> set[TopicPartition]:
        return {TP}


async def test_what_another_worker_settles_meanwhile_is_no_recreated_topic() -> None:
    """Simulation, seed 24451: the end of the log was older than the stored offset it was held against."""
    world = Elsewhere()
    lanes = Lanes(never, buffer_bytes=0, on_fenced=ignored, on_fatal=print)
    assignment = Assignment(lanes, cast("Any", world), cast("Any", Silent()), KafkaSettings())
    assignment.thread = cast("Any", world)
    assignment.begin([TP])
    while not assignment.ready:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)
    assert (world.rewound_to, world.sought) == (None, {TP: 10})
    assignment.close()


async def test_a_partition_that_began_again_while_the_group_gave_it_away_is_given_up() -> None:
    """A batch that is fenced after the revocation begins its partition again, and the group's answer comes later."""
    world = Elsewhere()
    lanes = Lanes(never, buffer_bytes=0, on_fenced=ignored, on_fatal=print)
    assignment = Assignment(lanes, cast("Any", world), cast("Any", Silent()), KafkaSettings())
    assignment.thread = cast("Any", world)
    assignment.begin([TP])
    while not assignment.ready:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)
    assert lanes.places
    assignment.assign([])
    assert not lanes.places
    assignment.close()


class Stubborn(Elsewhere):
    """A database whose driver, cancelled in its first wait, reports a lost connection instead (psycopg issue 1371)."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.loads = 0

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        self.loads += 1
        if self.loads == 1:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise psycopg.OperationalError from None
        return await super().load(topic, partitions)

    async def seek_all(self, offsets: Mapping[TopicPartition, int], epoch: int) -> None:
        await super().seek_all(offsets, epoch)
        self.epochs.append(epoch)


async def test_a_begin_that_was_overtaken_opens_no_lanes_even_if_its_cancellation_got_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.assignment.RETRY_WAIT_S", 0.01)
    world = Stubborn()
    lanes = Lanes(never, buffer_bytes=0, on_fenced=ignored, on_fatal=print)
    assignment = Assignment(lanes, cast("Any", world), cast("Any", Silent()), KafkaSettings())
    assignment.thread = cast("Any", world)
    assignment.begin([TP])
    await asyncio.sleep(0.01)
    assignment.begin([TP])
    await asyncio.sleep(0.1)
    assert world.epochs == [1]
    assignment.close()


async def never(_batch: Batch) -> Tally:
    raise NotImplementedError


async def ignored(_place: tuple[str, int]) -> None: ...


class Silent:
    """Metrics that nobody reads."""

    def __getattr__(self, _name: str) -> Silent:
        return self

    def __call__(self, *_args: object) -> None: ...
