"""The life of one batch: which door each record leaves by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from unittest import mock

import pytest

from keepstream.processors import batch_part
from keepstream.processors.partition_queue import PartitionRevokedError
from keepstream.processors.validation.contract import check_content
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import FencedError, RecordError, Step, TransientError, Verdict
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.record import Record
from tests.builders import AT, make_batch, make_failure, make_record, make_value
from tests.unit.pipeline_fixture import PipelineFixture, StoreScript, deadlock, too_slow, unreachable

LATER = AT.replace("10:00", "11:00")


def ids(*event_ids: str) -> list[bytes | None]:
    return [make_value(event_id=event_id) for event_id in event_ids]


def world(*poison: str) -> PipelineFixture:
    return PipelineFixture(StoreScript(frozenset(poison)))


async def process(world: PipelineFixture, *values: bytes | None) -> OutcomeCounts:
    return await world.process([make_record(value, offset) for offset, value in enumerate(values)])


async def test_a_good_batch_is_one_statement() -> None:
    w = world()
    assert await process(w, *ids("a", "b", "c")) == OutcomeCounts(delivered=3)
    assert w.rules.calls == [("settle", 3)]
    assert w.statuses == {"a": "delivered", "b": "delivered", "c": "delivered"}
    assert w.next_offset == 3
    assert w.metrics.steps == [Step.VALIDATE, Step.STORE]
    assert w.metrics.settled == [OutcomeCounts(delivered=3)]


async def test_what_the_contract_refuses_is_dead_and_its_neighbours_are_stored() -> None:
    w = world()
    assert await process(w, *ids("a"), b"{", None, *ids("b")) == OutcomeCounts(delivered=2, dead_lettered=2)
    assert w.causes == {1: "invalid_json", 2: "tombstone"}
    assert w.rules.calls == [("settle", 2)]
    assert w.next_offset == 4
    assert [letter.id for letter in w.metrics.dead_letters] == [letter.id for letter in w.letters.published]


async def test_a_batch_of_nothing_good_still_moves_the_offset() -> None:
    w = world()
    assert await process(w, b"{", b"") == OutcomeCounts(dead_lettered=2)
    assert w.next_offset == 2


async def test_a_repeat_inside_a_batch_is_a_duplicate() -> None:
    w = world()
    assert await process(w, *ids("a", "b", "a")) == OutcomeCounts(delivered=2, duplicate=1)
    assert w.store.totals.total == 3


async def test_content_that_only_the_store_refuses_is_found_by_a_closer_look() -> None:
    w = world()
    bad = b'{"event_id":"bad","payload":{"x":NaN}}'
    assert await process(w, *ids("a"), bad, *ids("b")) == OutcomeCounts(delivered=2, dead_lettered=1)
    assert w.rules.calls == [("settle", 3), ("settle", 2)]
    assert w.letters.published[0].failure.step is Step.VALIDATE
    assert w.causes == {1: "not_finite_number"}


async def test_a_good_repeat_cannot_hide_bad_content_before_it() -> None:
    w = world()
    bad = b'{"event_id":"a","payload":{"x":NaN}}'
    assert await process(w, bad, *ids("a")) == OutcomeCounts(delivered=1, dead_lettered=1)
    assert w.causes == {0: "not_finite_number"}


@pytest.mark.parametrize("bad", [{0}, {99}, {50}, {0, 99}, {10, 11}, {3, 33, 66, 99}, set(range(40, 50))])
async def test_k_bad_among_100_stand_alone_after_few_statements(bad: set[int]) -> None:
    w = world(*[f"e{number}" for number in bad])
    tally = await process(w, *ids(*[f"e{number}" for number in range(100)]))
    assert tally == OutcomeCounts(delivered=100 - len(bad), dead_lettered=len(bad))
    assert w.causes == dict.fromkeys(sorted(bad), "check_violation")
    assert len(w.rules.calls) <= len(bad) * (2 * math.ceil(math.log2(100)) + 3) + 3
    assert w.next_offset == 100


async def test_each_half_is_settled_on_its_own_and_no_record_is_in_two() -> None:
    w = world("bad")
    records = [make_record(value, 10 * n) for n, value in enumerate(ids("a", "b", "bad", "c", "d"))]
    assert await w.process(records) == OutcomeCounts(delivered=4, dead_lettered=1)
    assert [(method, size) for method, size in w.rules.calls] == [
        ("settle", 5), ("settle", 2), ("settle", 3), ("settle", 1), ("store", 1), ("settle", 0), ("settle", 2),
    ]  # fmt: skip
    assert w.store.settled == [(0, 11, 2), (11, 21, 1), (21, 41, 2)]
    assert w.metrics.settled == [OutcomeCounts(delivered=4, dead_lettered=1)]


async def test_what_the_metrics_step_refuses_dies_alone_and_says_so() -> None:
    w = PipelineFixture(StoreScript(undeliverable=frozenset({"bad"})))
    assert await process(w, *ids("a", "bad", "b")) == OutcomeCounts(delivered=2, dead_lettered=1)
    assert w.letters.published[0].failure.step is Step.METRICS
    assert w.statuses == {"a": "delivered", "b": "delivered"}


async def test_a_passing_trouble_of_the_metrics_step_is_tried_again_by_its_own_policy() -> None:
    w = world("bad")
    stuck = [TransientError(replace(deadlock().failure, step=Step.METRICS)) for _ in range(3)]
    w.rules.script = [None, None, RecordError(make_failure()), None, *stuck]
    assert await process(w, *ids("a", "b")) == OutcomeCounts(delivered=2)
    assert w.metrics.pauses == []


async def test_a_dead_letter_whose_row_is_refused_holds_its_partition_and_its_neighbours_are_settled() -> None:
    w = world()
    refusals = [RecordError(make_failure(reason="not_null_violation")) for _ in range(5)]
    w.rules.script = [None, *refusals]
    w.rules.script = [refusals[0], None, refusals[1], refusals[2]]
    assert await process(w, *ids("a"), b"{") == OutcomeCounts(delivered=1, dead_lettered=1)
    assert [(failure.verdict, failure.reason) for failure in w.metrics.pauses] == [
        (Verdict.SYSTEMIC, "not_null_violation")
    ] * 2
    assert w.causes == {1: "invalid_json"}


async def test_a_dead_letter_of_the_store_tells_who_it_was() -> None:
    w = world("bad")
    await process(w, make_value(event_id="bad", correlation_id="c-9"))
    letter = w.letters.published[0]
    assert (letter.event_id, letter.correlation_id) == ("bad", "c-9")
    assert letter.failure.verdict is Verdict.RECORD
    assert letter.first_failed_at <= letter.last_failed_at


async def test_a_passing_trouble_ends_as_if_nothing_had_been() -> None:
    w = world()
    w.rules.script = [deadlock(), deadlock(), None]
    assert await process(w, *ids("a", "b")) == OutcomeCounts(delivered=2)
    assert w.letters.published == []
    assert [retried for _, retried in w.metrics.failures] == [True, True]


async def test_a_dead_letter_whose_row_is_refused_for_hours_is_stored_in_the_end() -> None:
    w = world()
    w.rules.script = [RecordError(make_failure()) for _ in range(2000)]
    assert await process(w, b"{") == OutcomeCounts(dead_lettered=1)
    assert w.causes == {0: "invalid_json"}


async def test_a_record_that_always_times_out_on_a_healthy_store_dies_alone() -> None:
    w = world()

    def stuck(_method: str, events: Sequence[ValidEvent]) -> None:
        if any(event.event_id == "stuck" for event in events):
            raise too_slow()

    w.store.refuse = stuck
    assert await process(w, *ids("a", "stuck", "b")) == OutcomeCounts(delivered=2, dead_lettered=1)
    failure = w.letters.published[0].failure
    assert (failure.verdict, failure.reason, failure.attempts) == (Verdict.EXHAUSTED, "query_canceled", 4)


async def test_a_record_dies_only_when_it_fails_again_after_the_store_was_found_healthy() -> None:
    w = world()
    w.rules.script = [too_slow() for _ in range(1 + 3)]
    assert await process(w, *ids("a")) == OutcomeCounts(delivered=1)
    assert w.letters.published == []


async def test_a_lock_that_somebody_holds_is_never_a_records_fault() -> None:
    w = world()
    w.rules.script = [deadlock() for _ in range(40)]
    assert await process(w, *ids("a")) == OutcomeCounts(delivered=1)
    assert w.letters.published == []
    assert {failure.reason for failure in w.metrics.pauses} == {"deadlock_detected"}


async def test_retries_used_up_on_an_ill_store_are_waited_out() -> None:
    w = world()
    w.store.is_healthy = False
    w.rules.script = [too_slow() for _ in range(40)]
    assert await process(w, *ids("a", "b")) == OutcomeCounts(delivered=2)
    assert w.letters.published == []
    assert len(w.metrics.pauses) == w.metrics.resumptions > 0


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
async def test_an_unreachable_store_is_waited_for_at_every_statement(calls: int) -> None:
    w = world("bad")
    w.rules.script = [None] * calls + [unreachable()] * 5
    assert await process(w, *ids("a", "bad", "b")) == OutcomeCounts(delivered=2, dead_lettered=1)
    assert [failure.reason for failure, _ in w.metrics.failures].count(unreachable().failure.reason) == 5
    assert len(w.metrics.pauses) == w.metrics.resumptions == 1


async def test_each_dead_letter_is_published_once_whatever_the_store_does_then() -> None:
    w = world("bad")
    w.rules.script = [None, deadlock(), unreachable(), deadlock()]
    await process(w, b"{", *ids("bad", "a"))
    assert w.causes == {0: "invalid_json", 1: "check_violation"}
    assert len(w.letters.published) == 2


async def test_a_batch_held_is_abandoned_when_its_partition_is_taken_away() -> None:
    w = world()
    batch = make_batch([make_record(make_value(event_id="a"))])

    def down(*_: object) -> None:
        batch.queue.close()
        raise unreachable()

    w.store.refuse = down
    with pytest.raises(PartitionRevokedError):
        await w.pipeline.process(batch)
    assert (w.statuses, w.metrics.settled) == ({}, [])


@pytest.mark.parametrize("poison", [[], ["a"]])
async def test_being_fenced_is_told_to_the_lane_and_nothing_is_written(poison: list[str]) -> None:
    w = world(*poison)
    w.store.next_offsets["events", 0] = 5
    with pytest.raises(FencedError):
        await process(w, *ids("a", "b"))
    assert (w.statuses, w.next_offset, w.metrics.settled) == ({}, 5, [])


async def test_a_bad_repeat_cannot_hide_a_good_event_before_it() -> None:
    w = world()

    def refuse_later(_method: str, events: Sequence[ValidEvent]) -> None:
        if any(event.timestamp == LATER for event in events):
            raise RecordError(make_failure())

    w.store.refuse = refuse_later
    good, bad = make_value(event_id="a", timestamp=AT), make_value(event_id="a", timestamp=LATER)
    assert await process(w, good, bad, *ids("b")) == OutcomeCounts(delivered=2, dead_lettered=1)
    assert w.statuses == {"a": "delivered", "b": "delivered"}
    assert w.causes == {1: "check_violation"}
    assert AT.encode() in w.store.rows["a"].document


def batches(*contents: Sequence[bytes | None]) -> list[list[Record]]:
    """Consecutive batches of these values."""
    offsets = itertools.count()
    return [[make_record(value, next(offsets)) for value in values] for values in contents]


async def test_batches_that_wait_are_settled_in_one_statement() -> None:
    w = world()
    await w.process_joined(*batches(ids("a", "b"), ids("c"), ids("a", "d")))
    assert w.rules.calls == [("settle", 4)]
    assert w.store.settled == [(0, 5, 5)]
    assert w.metrics.settled == [OutcomeCounts(delivered=4, duplicate=1)]


async def test_dead_letters_of_several_batches_are_one_publication() -> None:
    w = world()
    counts = await w.process_joined(*batches([*ids("a"), b"no"], [b"no", *ids("b")]))
    assert counts == OutcomeCounts(delivered=2, dead_lettered=2)
    assert w.rules.calls == [("settle", 2)]
    assert [letter.record.offset for letter in w.letters.published] == [1, 2]


async def test_a_refused_transaction_is_divided_into_its_batches_and_a_bad_record_costs_its_own_only() -> None:
    w = world("bad")
    counts = await w.process_joined(*batches(ids("a", "b"), ids("c", "bad"), ids("d", "e")))
    assert counts == OutcomeCounts(delivered=5, dead_lettered=1)
    assert w.rules.calls == [
        ("settle", 6), ("settle", 2), ("settle", 2), ("settle", 1), ("settle", 1), ("store", 1), ("settle", 0),
        ("settle", 2),
    ]  # fmt: skip
    assert w.store.settled == [(0, 2, 2), (2, 3, 1), (3, 4, 1), (4, 6, 2)]
    assert w.causes == {3: "check_violation"}


async def test_content_that_the_store_refuses_does_not_divide_a_transaction() -> None:
    w = world()
    nan, nul = b'{"event_id":"x","payload":{"x":NaN}}', b'{"event_id":"y","payload":{"x":"\\u0000"}}'
    counts = await w.process_joined(*batches(ids("a", "b"), [nan, *ids("c")], [nul, *ids("d")]))
    assert counts == OutcomeCounts(delivered=4, dead_lettered=2)
    assert w.rules.calls == [("settle", 6), ("settle", 4)]
    assert w.causes == {2: "not_finite_number", 4: "nul_character"}
    assert len(w.letters.published) == 2
    assert w.metrics.publications == 1


async def test_a_passing_error_is_tried_again_before_a_transaction_is_divided() -> None:
    w = world()
    w.rules.script = [deadlock()]
    await w.process_joined(*batches(ids("a"), ids("b")))
    assert w.rules.calls == [("settle", 2), ("settle", 2)]


async def test_of_an_accepted_batch_only_the_repeats_are_checked_for_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check costs four times as much as the contract: PostgreSQL does it for whatever it is sent."""
    check = mock.Mock(wraps=check_content)
    monkeypatch.setattr(batch_part, "check_content", check)
    await process(world(), *ids("a", "b", "c", "b"))
    assert [call.args[0].event_id for call in check.call_args_list] == ["b"]
