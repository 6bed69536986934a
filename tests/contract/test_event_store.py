"""What every store of events does, the one in memory and PostgreSQL alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import FencedError
from keepstream.schemas.outcome import OutcomeCounts, Settlement
from tests.builders import AT, make_dead_letter, make_event, make_record, make_value
from tests.contract.store_fixtures import Table, by_steps, offset_range, settle, totals_of

EARLIER, LATER = "2026-11-24T09:00:00Z", "2026-11-24T11:00:00+00:00"
PATHS = pytest.mark.parametrize("path", [settle, by_steps])


def event(offset: int, event_id: str = "a", timestamp: str = AT, x: int = 0, **changes: Any) -> ValidEvent:
    return make_event(offset, event_id=event_id, timestamp=timestamp, payload={"x": x}, **changes)


def summary(table: Table) -> dict[str, tuple[str, int, tuple[int, int]]]:
    return {event_id: (row.status, row.payload["x"], row.place) for event_id, row in table.rows().items()}


@PATHS
async def test_new_events_are_delivered_counted_and_the_offset_moves(table: Table, path: Any) -> None:
    assert await path(table, 0, 2, event(0, "a"), event(1, "b", LATER, 7)) == OutcomeCounts(delivered=2)
    assert summary(table) == {"a": ("delivered", 0, (0, 0)), "b": ("delivered", 7, (0, 1))}
    assert table.rows()["b"].created_at == parse_timestamp(LATER)
    assert table.totals() == totals_of(OutcomeCounts(delivered=2))
    assert table.next_offset() == 2


@PATHS
@pytest.mark.parametrize("expected", [1, 9])
async def test_an_offset_that_somebody_moved_refuses_everything(table: Table, path: Any, expected: int) -> None:
    with pytest.raises(FencedError):
        await path(table, expected, 10, event(expected))
    with pytest.raises(FencedError):
        await settle(table, expected, 10, event(expected), dead=[make_dead_letter(make_record(None, 9))])
    with pytest.raises(FencedError):
        await settle(table, expected, 10, dead=[make_dead_letter(make_record(None, 9))])
    assert (table.rows(), table.letters(), table.next_offset()) == ({}, set(), 0)
    assert table.totals() == totals_of(OutcomeCounts())


@PATHS
async def test_a_late_transaction_of_the_topic_before_it_was_recreated_is_refused(table: Table, path: Any) -> None:
    """Both topics have an offset 0, and the first batch of the former may still be on its way."""
    await table.rewind()
    with pytest.raises(FencedError):
        await path(table, 0, 1, event(0))
    with pytest.raises(FencedError):
        await settle(table, 0, 1, dead=[make_dead_letter(make_record(None, 0))])
    assert (table.rows(), table.next_offset()) == ({}, 0)
    of_the_new_topic = replace(offset_range(0, 1), incarnation=1)
    assert await table.store.settle(Settlement(of_the_new_topic, [event(0)])) == OutcomeCounts(delivered=1)


async def test_a_late_transaction_is_refused_by_a_database_that_has_lost_the_topic_before(table: Table) -> None:
    """It counts incarnations from 0 again, as the former topic did: Kafka's own id tells them apart."""
    await table.open(7, 0, "second")
    late = replace(offset_range(0, 1), partition=7, topic_id="first")
    with pytest.raises(FencedError):
        await table.store.settle(Settlement(late, [event(0)]))
    with pytest.raises(FencedError):
        await table.store.settle_by_steps(late, event(0))
    assert (table.rows(), table.next_offset(7)) == ({}, 0)
    await table.store.settle(Settlement(replace(late, topic_id="second"), [event(0)]))
    assert table.next_offset(7) == 1


@PATHS
async def test_the_same_event_again_is_a_duplicate_and_changes_nothing(table: Table, path: Any) -> None:
    await settle(table, 0, 1, event(0))
    before = table.rows()
    assert await path(table, 1, 2, event(1)) == OutcomeCounts(duplicate=1)
    assert table.rows() == before
    assert table.totals() == totals_of(OutcomeCounts(delivered=1, duplicate=1))


@PATHS
@pytest.mark.parametrize("timestamp", [AT, LATER])
async def test_a_newer_version_replaces_the_row_and_counts_as_updated(table: Table, path: Any, timestamp: str) -> None:
    await settle(table, 0, 1, event(0))
    assert await path(table, 1, 2, event(1, timestamp=timestamp, x=5)) == OutcomeCounts(duplicate=1, updated=1)
    assert summary(table) == {"a": ("delivered", 5, (0, 1))}
    assert table.totals() == totals_of(OutcomeCounts(delivered=1, duplicate=1, updated=1))


@PATHS
async def test_an_older_version_never_overwrites_a_newer_one(table: Table, path: Any) -> None:
    await settle(table, 0, 1, event(0))
    assert await path(table, 1, 2, event(1, timestamp=EARLIER, x=5)) == OutcomeCounts(stale=1)
    assert summary(table) == {"a": ("delivered", 0, (0, 0))}
    assert table.totals() == totals_of(OutcomeCounts(delivered=1, stale=1))


async def test_versions_are_compared_as_moments_not_as_text(table: Table) -> None:
    await settle(table, 0, 1, event(0, timestamp="2026-11-24T10:00:00+02:00"))
    assert await settle(table, 1, 2, event(1, timestamp="2026-11-24T09:00:00Z", x=1)) == OutcomeCounts(
        duplicate=1, updated=1
    )
    assert await settle(table, 2, 3, event(2, timestamp="2026-11-24T10:59:59+02:00")) == OutcomeCounts(stale=1)


@PATHS
async def test_a_record_whose_row_was_left_pending_is_delivered_once(table: Table, path: Any) -> None:
    batch = [event(0, "a"), event(1, "b")]
    for one in batch:
        table.leave(one, "pending")
    assert await path(table, 0, 2, *batch) == OutcomeCounts(delivered=2)
    assert table.totals() == totals_of(OutcomeCounts(delivered=2))
    assert {row.status for row in table.rows().values()} == {"delivered"}
    assert await path(table, 2, 3, event(2, "a")) == OutcomeCounts(duplicate=1)


@PATHS
async def test_a_newer_version_takes_a_pending_row_over_and_is_what_is_delivered(table: Table, path: Any) -> None:
    table.leave(event(0), "pending")
    later = await path(table, 0, 1, make_other(event_id="a", timestamp=LATER, payload={"x": 5}), partition=1)
    assert later == OutcomeCounts(delivered=1)
    assert await settle(table, 0, 1, event(0)) == OutcomeCounts(stale=1)
    assert summary(table) == {"a": ("delivered", 5, (1, 0))}


@PATHS
@pytest.mark.parametrize("timestamp", [EARLIER, AT, LATER])
async def test_a_row_that_died_loses_to_any_version(table: Table, path: Any, timestamp: str) -> None:
    table.leave(make_other(event_id="a", timestamp=AT, payload={"x": 5}), "failed")
    assert await path(table, 0, 1, event(0, timestamp=timestamp)) == OutcomeCounts(delivered=1)
    assert summary(table) == {"a": ("delivered", 0, (0, 0))}


async def test_the_pending_row_of_a_record_that_dies_has_failed(table: Table) -> None:
    table.leave(event(0), "pending")
    await settle(table, 0, 1, dead=[make_dead_letter(make_record(make_value(), 0), event_id="a")])
    assert summary(table)["a"][0] == "failed"


@PATHS
@pytest.mark.parametrize(("partition", "wins"), [(0, False), (1, True)])
async def test_of_equal_timestamps_the_higher_partition_wins(
    table: Table, path: Any, partition: int, *, wins: bool
) -> None:
    first, second = event(0), make_other(event_id="a", timestamp=AT, payload={"x": 5})
    if partition == 0:
        first, second = second, first
    await settle(table, 0, 1, first, partition=first.record.partition)
    tally = await path(table, 0, 1, second, partition=second.record.partition)
    assert tally == OutcomeCounts(duplicate=1, updated=int(wins))
    assert summary(table)["a"][1] == 5


@PATHS
async def test_an_event_without_a_timestamp_sent_again_changes_nothing(table: Table, path: Any) -> None:
    value = make_value(event_id="a", timestamp=..., payload={"x": 0})
    first, again = validated(value, 0, 1_000), validated(value, 1, 2_000)
    await settle(table, 0, 1, first)
    before = table.rows()
    assert await path(table, 1, 2, again) == OutcomeCounts(duplicate=1)
    assert table.rows() == before
    other = validated(make_value(event_id="a", timestamp=..., payload={"x": 9}), 2, 3_000)
    assert await path(table, 2, 3, other) == OutcomeCounts(duplicate=1, updated=1)
    assert summary(table)["a"][1] == 9


@PATHS
async def test_a_producer_cannot_call_its_event_undated(table: Table, path: Any) -> None:
    await settle(table, 0, 1, event(0))
    later = validated(make_value(event_id="a", payload={"x": 0}, timestamp=LATER, **{"@undated": True}), 1)
    assert await path(table, 1, 2, later) == OutcomeCounts(duplicate=1, updated=1)


@PATHS
async def test_dead_letters_are_in_the_ledger_when_the_offset_moves(table: Table, path: Any) -> None:
    dead = [make_dead_letter(make_record(b"{", offset)) for offset in (0, 2)]
    assert await path(table, 0, 3, event(1), dead=dead) == OutcomeCounts(delivered=1, dead_lettered=2)
    assert table.letters() == {"events-0-0", "events-0-2"}
    assert table.totals() == totals_of(OutcomeCounts(delivered=1, dead_lettered=2))
    assert table.next_offset() == 3


@PATHS
async def test_a_batch_of_dead_letters_only_moves_the_offset(table: Table, path: Any) -> None:
    assert await path(table, 0, 1, dead=[make_dead_letter(make_record(None, 0))]) == OutcomeCounts(dead_lettered=1)
    assert (table.rows(), table.next_offset()) == ({}, 1)


@PATHS
async def test_a_dead_letter_leaves_a_delivered_row_of_its_event_alone(table: Table, path: Any) -> None:
    await settle(table, 0, 1, event(0))
    await path(table, 1, 2, dead=[make_dead_letter(make_record(b"{", 1), event_id="a")])
    assert summary(table) == {"a": ("delivered", 0, (0, 0))}


async def test_a_dead_repeat_does_not_fail_the_good_event_before_it(table: Table) -> None:
    dead = [make_dead_letter(make_record(make_value(), 1), event_id="a")]
    assert await by_steps(table, 0, 2, event(0), dead=dead) == OutcomeCounts(delivered=1, dead_lettered=1)
    assert summary(table)["a"][0] == "delivered"


@PATHS
async def test_holes_in_the_offsets_are_no_obstacle(table: Table, path: Any) -> None:
    await path(table, 0, 18, event(5, "a"), event(17, "b"))
    await path(table, 18, 1000, event(999, "c"))
    assert table.next_offset() == 1000
    assert table.totals()["delivered"] == 3


async def test_what_was_folded_before_is_counted_too(table: Table) -> None:
    folded = Settlement(offset_range(0, 3), [event(2)], (), OutcomeCounts(duplicate=1, stale=1))
    assert await table.store.settle(folded) == OutcomeCounts(delivered=1, duplicate=1, stale=1)
    assert table.totals() == totals_of(OutcomeCounts(delivered=1, duplicate=1, stale=1))


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("stored", [False, True])
async def test_ignored_records_are_counted_in_the_transaction_that_passes_them(
    table: Table, dead: bool, stored: bool
) -> None:
    letters = [make_dead_letter(make_record(b"{", 1))] if dead else []
    events = [event(2)] if stored else []
    settlement = Settlement(offset_range(0, 3 + dead + stored), events, letters, OutcomeCounts(ignored=3))
    expected = OutcomeCounts(delivered=stored, dead_lettered=dead, ignored=3)
    assert await table.store.settle(settlement) == expected
    assert table.totals() == totals_of(expected)
    with pytest.raises(FencedError):
        await table.store.settle(settlement)
    assert (table.totals(), table.next_offset()) == (totals_of(expected), 3 + dead + stored)


async def test_a_store_at_work_is_healthy(table: Table) -> None:
    assert await table.store.healthy()
    assert (table.rows(), table.totals()["total"]) == ({}, 0)


def make_other(**fields: Any) -> ValidEvent:
    """The same kind of event, from partition 1."""
    return validated(make_value(**fields), 0, partition=1)


def validated(value: bytes, offset: int, timestamp: int = 0, partition: int = 0) -> ValidEvent:
    verdict = validate(make_record(value, offset, timestamp=timestamp, partition=partition))
    assert isinstance(verdict, ValidEvent)
    return verdict
