"""The dead letter limit: when dead letters stop being the records' fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keepstream.processors.dead_letter_limit import DeadLetterLimit
from keepstream.schemas.dead_letter import REPLAY_COUNT, DeadLetter
from keepstream.schemas.failure import Failure, SystemicError, Verdict
from tests.builders import make_batch, make_dead_letter, make_record
from tests.unit.pipeline_fixture import PipelineFixture


def letters(*offsets: int, partition: int = 0, replayed: bool = False) -> list[DeadLetter]:
    headers = [(REPLAY_COUNT, b"1")] if replayed else []
    return [make_dead_letter(make_record(b"x", i, partition=partition, headers=headers)) for i in offsets]


@pytest.fixture
def guard() -> DeadLetterLimit:
    return DeadLetterLimit(limit=5, window=10)


def test_as_many_as_the_limit_pass_and_one_more_does_not(guard: DeadLetterLimit) -> None:
    guard.admit(letters(0, 1, 2, 3, 4))
    for _ in range(3):
        with pytest.raises(SystemicError) as caught:
            guard.admit(letters(5))
    assert (caught.value.failure.verdict, caught.value.failure.reason) == (Verdict.SYSTEMIC, "dead_letter_flood")
    assert (
        "6 of the last 10 records became dead letters, the last because of check_violation"
        in caught.value.failure.message
    )


def test_good_records_in_between_let_it_pass(guard: DeadLetterLimit) -> None:
    for offset in range(0, 100, 2):
        guard.admit(letters(offset))


def test_partitions_are_counted_apart(guard: DeadLetterLimit) -> None:
    for partition in range(4):
        guard.admit(letters(0, 1, 2, 3, 4, partition=partition))


def test_what_is_read_or_published_again_is_not_counted_twice(guard: DeadLetterLimit) -> None:
    for _ in range(5):
        guard.admit(letters(0, 1, 2, 3))
    guard.admit(letters(7))


def test_a_partition_that_is_read_from_an_earlier_offset_begins_there(guard: DeadLetterLimit) -> None:
    guard.admit(letters(100, 101, 102, 103, 104))
    guard.admit(letters(0, 1, 2, 3, 4))


def test_replayed_letters_that_die_again_are_not_counted(guard: DeadLetterLimit) -> None:
    guard.admit(letters(*range(100), replayed=True))
    guard.admit(letters(100, 101, 102, 103, 104))


def test_one_batch_alone_can_be_a_flood(guard: DeadLetterLimit) -> None:
    with pytest.raises(SystemicError):
        guard.admit(letters(*range(6)))


async def test_a_flood_holds_the_batch_and_moves_no_offset() -> None:
    world = PipelineFixture()
    pipeline = replace(world.pipeline, outbox=replace(world.pipeline.outbox, limit=DeadLetterLimit(limit=1, window=10)))

    class RaisedLimitError(Exception):
        pass

    def failed(failure: Failure, *, retried: bool) -> None:
        world.metrics.failures.append((failure, retried))
        if len(world.metrics.failures) == 3:
            raise RaisedLimitError

    world.metrics.attempt_failed = failed  # type: ignore[method-assign]
    with pytest.raises(RaisedLimitError):
        await pipeline.process(make_batch([make_record(b"broken", 0), make_record(b"broken", 1)]))
    assert not world.letters.published
    assert world.next_offset == 0
