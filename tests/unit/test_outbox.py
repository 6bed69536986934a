"""The outbox: a dead letter is decided once, published as it was decided, and only what is not confirmed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.testing.memory import MemoryDeadLetters
from keepstream.processors.partition_queue import PartitionRevokedError
from keepstream.schemas.dead_letter import to_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import RecordError, TransientError
from keepstream.schemas.outcome import OutcomeCounts, Publication
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.postgres.outbox import pack, unpack
from tests.builders import make_batch, make_dead_letter, make_failure, make_record, make_value
from tests.unit.pipeline_fixture import PipelineFixture, StoreScript, deadlock, dlq_unavailable, unreachable


@dataclass
class Picky(MemoryDeadLetters):
    """Confirms only the first of each publication."""

    asked: list[list[int]] = field(default_factory=list)

    async def publish(self, records: Sequence[KafkaRecord]) -> Publication:
        self.asked.append([record.offset for record in records])
        publication = await super().publish(records[:1])
        return publication if len(records) == 1 else replace(publication, failure=dlq_unavailable().failure)


def broken(*offsets: int) -> list[KafkaRecord]:
    return [make_record(b"{", offset) for offset in offsets]


async def test_a_dead_letter_is_published_after_it_was_decided() -> None:
    world = PipelineFixture()
    offsets: list[int | None] = []
    publish = world.letters.publish

    async def seen(records: Sequence[KafkaRecord]) -> Publication:
        offsets.append(world.next_offset)
        assert {DeadLetterRecord(record).id for record in records} == world.store.outbox["events", 0].keys()
        return await publish(records)

    world.letters.publish = seen  # type: ignore[method-assign]
    await world.process(broken(0, 1))
    assert offsets == [2]
    assert world.store.outbox["events", 0] == {}
    assert world.metrics.publications == 1


async def test_what_failed_before_the_decision_is_not_published() -> None:
    world = PipelineFixture(StoreScript(script=[deadlock(), unreachable()]))
    world.store.next_offsets["events", 0] = 0
    batch = make_batch(broken(0))

    def fenced_then(*_: object) -> None:
        batch.queue.close()
        raise unreachable()

    world.store.refuse = fenced_then
    with pytest.raises(PartitionRevokedError):
        await world.pipeline.process(batch)
    assert world.letters.records == []


async def test_nothing_more_is_settled_while_the_topic_takes_nothing() -> None:
    world = PipelineFixture(StoreScript(frozenset({"bad"})))
    settled: list[list[tuple[int, int, int]]] = []
    waiting: list[list[str]] = []

    def failed(*_: object, **__: object) -> None:
        settled.append([*world.store.settled])
        waiting.append([*world.store.outbox.get(("events", 0), ())])

    world.letters.failures = [dlq_unavailable() for _ in range(3)]
    world.metrics.attempt_failed = failed  # type: ignore[method-assign]
    values = [make_value(event_id=event_id) for event_id in ("bad", "a", "b")]
    counts = await world.process([make_record(value, offset) for offset, value in enumerate(values)])
    assert counts == OutcomeCounts(delivered=2, dead_lettered=1)
    assert (settled[-3:], waiting[-3:]) == ([[(0, 1, 1)]] * 3, [["events-0-0"]] * 3)


async def test_only_what_the_broker_has_not_confirmed_is_published_again() -> None:
    world = PipelineFixture(letters=Picky())
    await world.process(broken(0, 1, 2))
    assert world.letters.asked == [[0, 1, 2], [1, 2], [2]]  # type: ignore[attr-defined]
    assert [record.offset for record in world.letters.records] == [0, 1, 2]
    assert [letter.record.offset for letter in world.metrics.dead_letters] == [0, 1, 2]
    assert world.store.outbox["events", 0] == {}


@pytest.mark.parametrize("error", [RecordError(make_failure()), TransientError(make_failure()), unreachable()])
async def test_what_keeps_a_letter_in_the_outbox_pauses_and_publishes_nothing_again(error: Exception) -> None:
    world = PipelineFixture()
    world.store.removal_failures = [error, error]  # type: ignore[list-item]
    await world.process(broken(0))
    assert len(world.letters.records) == 1
    assert (len(world.metrics.pauses), world.store.outbox["events", 0]) == (1, {})


async def test_a_queue_publishes_first_what_an_earlier_one_has_decided_with_the_same_headers() -> None:
    world = PipelineFixture()
    decided = world.pipeline.outbox.prepare([])
    batch = make_batch(broken(0))
    await world.process(broken(0))
    (first,) = world.letters.records
    world.store.outbox["events", 0] = {"events-0-0": first}
    later = replace(world.pipeline.outbox, app_version="9.9.9")
    await later.recover(batch.queue)
    assert decided == []
    assert [record.headers for record in world.letters.records] == [first.headers] * 2
    assert world.metrics.dead_letters[-1].failure == world.metrics.dead_letters[0].failure
    assert world.store.outbox["events", 0] == {}


async def test_a_queue_that_is_closed_publishes_nothing_of_an_earlier_one() -> None:
    world, batch = PipelineFixture(), make_batch(broken(0))
    world.store.outbox["events", 0] = {"events-0-0": make_record(b"{", 0)}
    batch.queue.close()
    with pytest.raises(PartitionRevokedError):
        await world.pipeline.outbox.recover(batch.queue)
    assert world.letters.records == []


async def test_dead_letters_of_equal_offsets_of_a_topic_and_its_successor_are_both_published() -> None:
    """The offsets of a re-created topic begin again."""
    world, batch = PipelineFixture(), make_batch(broken(0))
    before, after = (make_dead_letter(broken(0)[0], incarnation=incarnation) for incarnation in (0, 1))
    world.store.outbox["events", 0] = {one.id: to_record(one, "1") for one in (before, after)}
    await world.pipeline.outbox.recover(batch.queue)
    assert [letter.id for letter in world.letters.published] == ["events-0-0", "events~1-0-0"]
    assert [letter.id for letter in world.metrics.dead_letters] == ["events-0-0", "events~1-0-0"]
    assert world.store.outbox["events", 0] == {}


async def test_a_late_confirmation_leaves_the_dead_letter_of_the_recreated_topic_in_the_outbox() -> None:
    world, batch = PipelineFixture(), make_batch(broken(0))
    before, after = (make_dead_letter(broken(0)[0], incarnation=incarnation) for incarnation in (0, 1))
    decided = to_record(after, "1")
    world.store.outbox["events", 0] = {after.id: decided}
    await world.pipeline.outbox.publish(batch.queue, [before], [to_record(before, "1")])
    assert world.store.outbox["events", 0] == {"events~1-0-0": decided}


NAMES = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
VALUES = st.none() | st.binary(max_size=40)


@given(VALUES, VALUES, st.lists(st.tuples(NAMES, VALUES), max_size=6), st.integers(-1, 2**63 - 1))
def test_a_record_leaves_the_outbox_byte_for_byte(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], number: int
) -> None:
    record = KafkaRecord("events", 3, number, number, key, value, headers)
    assert unpack(pack(record)) == record
