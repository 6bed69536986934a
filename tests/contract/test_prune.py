"""Retention in every PostgreSQL at hand: what goes, what stays, what is written down."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from keepstream.sinks.postgres.audit import partition_accounts
from keepstream.sinks.postgres.prune import prunable, prune
from tests.real import Database

pytestmark = pytest.mark.real

BOUND = datetime(2026, 6, 1, tzinfo=UTC)
_FILL = """
INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition, source_offset)
SELECT 'e-' || n, jsonb_build_object('filler', repeat('x', 200)),
       CASE WHEN mod(n, 100) = 0 THEN 'pending' ELSE 'delivered' END,
       timestamptz '2026-05-31 00:00Z' + n * interval '1 minute', 'events', mod(n, 2), n
FROM generate_series(1, 3000) n"""
OLD = 1439 - 14  # minutes of that day before midnight, without the pending ones


def left(database: Database) -> int:
    count: int = database.value("SELECT count(*) FROM events WHERE created_at < %s", BOUND)
    return count


def test_old_delivered_rows_go_and_each_is_noted_with_its_source(any_database: Database) -> None:
    any_database.execute(_FILL)
    with any_database.connect() as connection:
        expected = prunable(connection, BOUND)
        batches = [*prune(connection, BOUND, blocks=16)]
        assert sum(expected.values()) == OLD
        assert sum(batches, Counter()) == Counter(expected)
        assert sum(1 for batch in batches if batch) > 1
        assert prunable(connection, BOUND) == {}
        pruned = {(account.topic, account.partition): account.pruned for account in partition_accounts(connection)}
    assert pruned == expected
    assert left(any_database) == 14  # pending
    assert any_database.value("SELECT count(*) FROM events WHERE created_at >= %s", BOUND) == 3000 - 1439
    assert any_database.rows("SELECT DISTINCT before FROM pruned_events") == [(BOUND,)]


def test_a_second_run_adds_up_and_the_bound_never_goes_back(any_database: Database) -> None:
    any_database.execute(_FILL)
    with any_database.connect() as connection:
        for bound in (BOUND, BOUND.replace(day=2), BOUND):
            for _ in prune(connection, bound):
                pass
    assert any_database.value("SELECT sum(rows) FROM pruned_events") == 2879 - 28
    assert any_database.rows("SELECT DISTINCT before FROM pruned_events") == [(BOUND.replace(day=2),)]


def test_a_row_that_somebody_holds_is_left_and_nobody_waits(any_database: Database) -> None:
    any_database.execute(_FILL)
    with any_database.connect() as holder, holder.transaction():
        holder.execute("SELECT FROM events WHERE event_id IN ('e-5', 'e-6') FOR UPDATE")
        with any_database.connect() as connection:
            connection.execute("SET lock_timeout = '100ms'")
            assert sum(sum(batch.values()) for batch in prune(connection, BOUND)) == OLD - 2
    assert left(any_database) == 14 + 2


def test_a_partitioned_table_is_pruned_as_well(plain_database: Database) -> None:
    plain_database.execute("ALTER TABLE events RENAME TO plain")
    plain_database.execute("CREATE TABLE events (LIKE plain INCLUDING DEFAULTS) PARTITION BY HASH (event_id)")
    for n in range(4):
        plain_database.execute(
            f"CREATE TABLE events_{n} PARTITION OF events FOR VALUES WITH (MODULUS 4, REMAINDER {n})"
        )
    plain_database.execute(_FILL)
    with plain_database.connect() as connection:
        assert sum(sum(batch.values()) for batch in prune(connection, BOUND)) == OLD
    assert left(plain_database) == 14
