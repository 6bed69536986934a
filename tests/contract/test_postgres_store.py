"""What only a real table can show: writers side by side, prepared statements, untouched rows."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from keepstream.schemas.dead_letter import to_record
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.failure import TransientError
from keepstream.schemas.outcome import OutcomeCounts, Settlement
from keepstream.schemas.record import Incarnation
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.postgres.outbox import PostgresOutbox
from keepstream.sinks.postgres.store import _settle
from tests.builders import AT, make_dead_letter, make_event, make_record, make_value
from tests.contract.store_fixtures import PostgresTable, by_steps, offset_range, postgres_table, settle, settle_by_steps
from tests.real import Database, eventually

pytestmark = pytest.mark.real

PATHS = pytest.mark.parametrize("path", [settle, settle_by_steps])
ROUNDS = 12


def event(event_id: str, second: int = 0, offset: int = 0) -> ValidEvent:
    return make_event(offset, event_id=event_id, timestamp=f"2026-11-24T10:00:{second:02}Z", payload={"x": second})


def of_partition(partition: int, event: ValidEvent) -> ValidEvent:
    return replace(event, record=replace(event.record, partition=partition))  # type: ignore[type-var]


async def insist(path: Any, *arguments: Any, partition: int) -> OutcomeCounts:
    """Do what the pipeline does with a transient error: try again."""
    for _ in range(50):
        try:
            return await path(*arguments, partition=partition)  # type: ignore[no-any-return]
        except TransientError:
            await asyncio.sleep(0)
    raise AssertionError("50 transient errors in a row")


@asynccontextmanager
async def uncommitted(table: PostgresTable, settlement: Settlement) -> AsyncIterator[None]:
    """Another worker that has written its batch and not yet committed."""
    async with table.store.pool.connection() as connection, connection.transaction():
        await _settle(connection, settlement)
        yield


async def blocked(table: PostgresTable) -> None:
    """Return once a statement waits for the other worker's lock."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    await asyncio.to_thread(eventually, lambda: table.read(query)[0][0], what="a statement waits for a lock")


@pytest.mark.usefixtures("plain_database")
async def test_rows_are_written_in_the_order_that_the_index_has(real_table: PostgresTable) -> None:
    ids = ["b", "\U0001f600", "\uffff", "é", "a", "z", "B"]
    await settle(real_table, 0, 1, *[event(name, offset=n) for n, name in enumerate(ids)])
    written = real_table.read("SELECT event_id FROM events ORDER BY ctid")
    assert written == real_table.read('SELECT event_id FROM events ORDER BY event_id COLLATE "C"')
    assert len(written) == len(ids)


@PATHS
@pytest.mark.parametrize("other_path", [settle, settle_by_steps])
async def test_one_event_on_two_partitions_counts_once(real_table: PostgresTable, path: Any, other_path: Any) -> None:
    size = 4 if path is other_path is settle else 1
    for offset in range(ROUNDS):
        same = [event(f"{offset}-{i}", second=1) for i in range(size)]
        here, there = same, [of_partition(1, one) for one in reversed(same)]
        tallies = await asyncio.gather(
            insist(path, real_table, offset, offset + 1, *here, partition=0),
            insist(other_path, real_table, offset, offset + 1, *there, partition=1),
        )
        assert sum(tallies, OutcomeCounts()) == OutcomeCounts(delivered=size, duplicate=size)
    assert real_table.totals()["delivered"] == size * ROUNDS == len(real_table.rows())


async def test_opposite_orders_end_with_nothing_worse_than_a_transient_error(real_table: PostgresTable) -> None:
    """Rows that exist are updated in the order of the batch: here two workers may wait for each other."""
    ids = [f"e{i}" for i in range(20)]
    await settle(real_table, 0, 1, *[event(i) for i in ids])
    for round_ in range(1, ROUNDS + 1):
        newer = [event(i, second=round_) for i in ids]
        there = [of_partition(1, event(i, second=round_ + 20)) for i in reversed(ids)]
        await asyncio.gather(
            insist(settle, real_table, round_, round_ + 1, *newer, partition=0),
            insist(settle, real_table, round_ - 1, round_, *there, partition=1),
        )
    assert {row.payload["x"] for row in real_table.rows().values()} == {20 + ROUNDS}
    assert real_table.totals()["total"] == 20 * (1 + 2 * ROUNDS)


async def test_an_event_committed_while_we_waited_is_a_race_and_then_a_duplicate(real_table: PostgresTable) -> None:
    async with uncommitted(real_table, Settlement(offset_range(0, 1), [event("a")])):
        waiting = asyncio.create_task(settle(real_table, 0, 1, of_partition(1, event("a")), partition=1))
        await blocked(real_table)
    with pytest.raises(TransientError, match="another worker wrote the same event"):
        await waiting
    assert real_table.next_offset(1) == 0
    assert await settle(real_table, 0, 1, of_partition(1, event("a")), partition=1) == OutcomeCounts(duplicate=1)


@PATHS
@pytest.mark.parametrize(("second", "fate"), [(3, OutcomeCounts(duplicate=1, updated=1)), (1, OutcomeCounts(stale=1))])
async def test_two_newer_versions_of_a_pending_row_deliver_it_once(
    real_table: PostgresTable, path: Any, second: int, fate: OutcomeCounts
) -> None:
    await real_table.open(2, 0)
    real_table.leave(event("a"), "pending")
    other = Settlement(offset_range(0, 1, 1), [of_partition(1, event("a", second=2))])
    ours = of_partition(2, event("a", second=second))
    async with uncommitted(real_table, other):
        waiting = asyncio.create_task(insist(path, real_table, 0, 1, ours, partition=2))
        await blocked(real_table)
    assert await waiting == fate
    assert real_table.totals()["delivered"] == 1


async def test_two_workers_of_one_partition_cannot_both_settle_it(real_table: PostgresTable) -> None:
    results = await asyncio.gather(
        *[settle(real_table, 0, 1, event(f"e{i}")) for i in range(6)], return_exceptions=True
    )
    assert [type(result).__name__ for result in results].count("FencedError") == 5
    assert len(real_table.rows()) == real_table.totals()["total"] == 1


@PATHS
async def test_an_identical_repeat_is_not_worth_a_write(real_table: PostgresTable, path: Any) -> None:
    query = "SELECT xmin::text, updated_at FROM events"
    await settle(real_table, 0, 1, event("a"))
    before = real_table.read(query)
    await path(real_table, 1, 2, event("a", offset=1))
    assert real_table.read(query) == before


async def test_offsets_of_any_size_share_the_prepared_statements(direct_database: Database) -> None:
    query = "SELECT count(*), count(DISTINCT statement) FROM pg_prepared_statements WHERE statement LIKE 'WITH %'"
    async with postgres_table(direct_database, pool_size=1) as table:
        await table.open(0, 0)
        for begin, end in itertools.pairwise([0, 4, 200, 40_000, 3_000_000_000, 2**62]):
            first, last = ([make_dead_letter(make_record(None, offset))] for offset in (begin + 1, end - 1))
            await by_steps(table, begin, end - 2, event(f"e{end}", offset=begin), dead=first)
            await settle(table, end - 2, end, event(f"f{end}", offset=end - 2), dead=last)
        async with table.store.pool.connection() as connection:
            ((prepared, different),) = await (await connection.execute(query)).fetchall()
        assert prepared == different > 0
        assert table.next_offset() == 2**62


async def test_every_column_of_a_row_is_what_the_event_said(real_table: PostgresTable) -> None:
    full = make_event(7, event_id="a", metadata={"m": 1}, correlation_id="c", retry_attempt=3)
    bare = make_event(8, event_id="b", metadata=None, correlation_id=...)
    await settle(real_table, 0, 9, full, bare)
    query = """SELECT metadata, correlation_id, retry_count, source_topic, source_partition, source_offset,
                      created_at = %s::timestamptz FROM events ORDER BY event_id"""
    assert real_table.read(query, AT) == [
        ({"m": 1}, "c", 3, "events", 0, 7, True),
        (None, "b", 0, "events", 0, 8, True),
    ]


async def test_the_ledger_says_why_and_survives_text_that_jsonb_cannot_hold(real_table: PostgresTable) -> None:
    letter = make_dead_letter(make_record(make_value(), 0), event_id="a\0b", correlation_id="\ud800" + "x" * 3000)
    await settle(real_table, 0, 1, dead=[letter])
    query = """SELECT event_id, length(correlation_id), step, verdict, reason, message, sqlstate, attempts, state
               FROM dead_letters"""
    assert real_table.read(query) == [
        ("a\N{REPLACEMENT CHARACTER}b", 1024, "store", "record", "check_violation", "no", "23514", 1, "open")
    ]


@pytest.mark.parametrize("events", [[], [event("a")]])
async def test_only_what_decides_dead_letters_waits_for_the_disk(
    any_database: Database, events: list[ValidEvent]
) -> None:
    """What is published must not be forgotten; the rest is read from Kafka again."""
    async with postgres_table(any_database, synchronous_commit=False) as table:
        await table.open(0, 0)
        for begin, dead in ((0, []), (2, [make_dead_letter(make_record(None, 3))])):
            letters = [to_record(letter, "1") for letter in dead]
            settlement = Settlement(offset_range(begin, begin + 2), events, dead, outbox=letters)
            async with table.store.pool.connection() as connection, connection.transaction():
                await _settle(connection, settlement)
                shown = await (await connection.execute("SHOW synchronous_commit")).fetchone()
            assert shown == (("on",) if dead else ("off",))


async def test_the_outbox_holds_what_is_to_be_published_byte_for_byte_until_its_place_is_known(
    real_table: PostgresTable,
) -> None:
    headers = [("a\0b", b"\xff\x00"), ("a\0b", None), ("", b"")]
    records = [make_record(value, n, key=key, headers=headers) for n, (value, key) in enumerate(
        [(b"\x00\xff" * 1000, None), (None, b""), (b"", b"\xff")])]  # fmt: skip
    dead = [make_dead_letter(record) for record in records]
    outbox, letters = PostgresOutbox(real_table.store.pool), [to_record(letter, "1") for letter in dead]
    await real_table.store.settle(Settlement(offset_range(0, 3), [], dead, outbox=letters))
    assert await outbox.load("events", 0) == [replace(one, headers=[*one.headers]) for one in letters]
    assert await outbox.load("events", 1) == []
    await outbox.remove({"events-0-0": "dlq-0-7", "events-0-2": None})
    assert [record.offset for record in await outbox.load("events", 0)] == [1]
    places = real_table.read('SELECT "offset", place FROM dead_letters ORDER BY "offset"')
    assert places == [(0, "dlq-0-7"), (1, None), (2, None)]


async def test_a_late_confirmation_is_of_the_topic_before_it_was_recreated(real_table: PostgresTable) -> None:
    """Its dead letter has the same partition and offset as that of the topic that has the name now."""
    outbox, place = PostgresOutbox(real_table.store.pool), "SELECT topic, place FROM dead_letters ORDER BY topic"
    before, after = (make_dead_letter(make_record(None, 0), incarnation=incarnation) for incarnation in (0, 1))
    await real_table.store.settle(Settlement(offset_range(0, 1), [], [before], outbox=[to_record(before, "1")]))
    await real_table.rewind()
    again = replace(offset_range(0, 1), incarnation=1)
    await real_table.store.settle(Settlement(again, [], [after], outbox=[to_record(after, "1")]))
    loaded = await outbox.load("events", 0)
    assert [DeadLetterRecord(record).to_dead_letter().id for record in loaded] == ["events-0-0", "events~1-0-0"]
    await outbox.remove({"events-0-0": "dlq-0-7"})
    assert [DeadLetterRecord(record).id for record in await outbox.load("events", 0)] == ["events~1-0-0"]
    assert real_table.read(place) == [("events", "dlq-0-7"), ("events~1", None)]
    await outbox.remove({"events~1-0-0": "dlq-0-8"})
    assert await outbox.load("events", 0) == []
    assert real_table.read(place) == [("events", "dlq-0-7"), ("events~1", "dlq-0-8")]


async def test_a_partition_is_behind_while_the_outbox_holds_something_of_it(real_table: PostgresTable) -> None:
    offsets = PostgresOffsets(real_table.store.pool)
    dead = make_dead_letter(make_record(None, 1))
    await real_table.store.settle(Settlement(offset_range(0, 3), [], [dead], outbox=[to_record(dead, "1")]))
    assert (await offsets.peek("events"))[0] == (0, 1)
    await PostgresOutbox(real_table.store.pool).remove({"events-0-1": None})
    assert (await offsets.peek("events"))[0] == (0, 3)


async def test_a_worker_that_was_frozen_puts_no_topic_id_back(real_table: PostgresTable) -> None:
    offsets = PostgresOffsets(real_table.store.pool)
    await offsets.set_topic_id("events", 0, "first")
    assert await offsets.rewind("events", 0, Incarnation(0, "first"), 0, "second")
    await offsets.set_topic_id("events", 0, "first")
    assert not await offsets.rewind("events", 0, Incarnation(0, "first"), 0, "first")
    assert not await offsets.rewind("events", 0, Incarnation(1, "first"), 0, "first")
    assert (await offsets.load("events", [0]))[0].incarnation == Incarnation(1, "second")


async def test_a_gap_of_the_topic_before_moves_no_offset_of_the_recreated_one(real_table: PostgresTable) -> None:
    offsets = PostgresOffsets(real_table.store.pool)
    await real_table.rewind()
    assert not await offsets.skip_gap("events", 0, Incarnation(0), expected_offset=0, next_offset=5)
    assert real_table.next_offset() == 0
    assert await offsets.skip_gap("events", 0, Incarnation(1), expected_offset=0, next_offset=5)
    assert real_table.next_offset() == 5
