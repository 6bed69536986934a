"""A record that refers to a row which does not exist yet waits for it, as long as its batch may."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from keepstream.processors.partition_queue import PartitionRevokedError
from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import make_batch, make_record, make_value
from tests.unit.pipeline_fixture import PipelineFixture, StoreScript

LONG_S = 30.0
NEVER = 10**6


def world(wait_s: float, **waiting: int) -> PipelineFixture:
    made = PipelineFixture(StoreScript(waiting=waiting))
    made.pipeline = replace(made.pipeline, policies=replace(made.pipeline.policies, foreign_key_wait_s=wait_s))
    return made


async def process(world: PipelineFixture, *event_ids: str) -> OutcomeCounts:
    return await world.process([make_record(make_value(event_id=name), i) for i, name in enumerate(event_ids)])


async def test_a_row_that_comes_in_time_makes_it_an_event() -> None:
    w = world(LONG_S, child=4)
    assert await process(w, "a", "child", "b") == OutcomeCounts(delivered=3)
    assert w.causes == {}
    assert {(failure.reason, retried) for failure, retried in w.metrics.failures} == {("foreign_key_violation", True)}


async def test_a_row_that_never_comes_makes_it_a_dead_letter_with_its_reason_and_attempts() -> None:
    w = world(0.3, child=NEVER)
    assert await process(w, "a", "child", "b") == OutcomeCounts(delivered=2, dead_lettered=1)
    assert w.causes == {1: "foreign_key_violation"}
    (dead,) = w.letters.published
    assert dead.failure.attempts >= 3
    assert (dead.last_failed_at - dead.first_failed_at).total_seconds() >= 0.3


async def test_the_records_of_a_batch_wait_together_and_not_each_in_turn() -> None:
    w = world(0.3, **{f"child-{number}": NEVER for number in range(20)})
    began = asyncio.get_running_loop().time()
    counts = await process(w, "a", *w.rules.waiting, "b")
    assert counts == OutcomeCounts(delivered=2, dead_lettered=20)
    assert asyncio.get_running_loop().time() - began < 0.3 * 5


async def test_what_is_before_it_is_stored_while_it_waits() -> None:
    w = world(LONG_S, child=NEVER)
    running = asyncio.create_task(process(w, "a", "b", "child", "c"))
    while "b" not in w.statuses:  # noqa: ASYNC110 - the store has no event to wait for
        await asyncio.sleep(0.01)
    w.rules.waiting.clear()
    assert await running == OutcomeCounts(delivered=4)


async def test_without_a_wait_it_is_dead_at_once() -> None:
    w = world(0.0, child=3)
    assert await process(w, "child") == OutcomeCounts(dead_lettered=1)


@pytest.mark.parametrize("end", ["close", "finish"])
async def test_a_partition_that_is_taken_or_a_shutdown_ends_the_wait_without_a_dead_letter(end: str) -> None:
    w = world(LONG_S, child=NEVER)
    batch = make_batch([make_record(make_value(event_id="child"))])
    running = asyncio.create_task(w.pipeline.process(batch))
    await asyncio.sleep(0.05)
    getattr(batch.queue, end)()
    with pytest.raises(PartitionRevokedError):
        await asyncio.wait_for(running, 5)
    assert w.causes == {}
