"""The exact totals, against what the tables hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keepstream.schemas.outcome import Outcome, Totals
from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.status import PostgresTotals
from tests.real import Database

pytestmark = pytest.mark.real
OLD, NEW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


async def read(database: Database) -> Totals:
    pool = await open_pool(ConnectionPolicy(database.url, schema=database.schema))
    try:
        return await PostgresTotals(pool).read()
    finally:
        await pool.close()


def bury(database: Database, offset: int, died_at: datetime, state: str) -> None:
    database.execute(
        'INSERT INTO dead_letters (topic, partition, "offset", step, verdict, reason, message, attempts,'
        " first_failed_at, last_failed_at, state) VALUES ('events', 0, %s, 'store', 'record', 'r', 'm', 1, %s, %s, %s)",
        offset, died_at, died_at, state,
    )  # fmt: skip


async def test_an_empty_database_has_zero_of_everything(database: Database) -> None:
    nothing = {"replayed": 0, "skipped": 0, "failed": 0}
    assert await read(database) == Totals(dict.fromkeys(Outcome, 0), 0, None, nothing)


async def test_totals_are_summed_over_partitions_and_only_open_dead_letters_count(database: Database) -> None:
    for partition in (0, 1):
        database.execute(
            "INSERT INTO event_counters (topic, partition, total, delivered, failed, duplicate, stale, ignored)"
            " VALUES ('events', %s, 15, 4, 3, 2, 1, 5)", partition,
        )  # fmt: skip
    bury(database, 1, NEW, "open")
    bury(database, 2, OLD, "open")
    bury(database, 3, datetime(2025, 1, 1, tzinfo=UTC), "settled")
    for replayed in (5, 6):
        database.execute(
            "INSERT INTO replays (dlq_topic, selection, started_by, replayed, skipped, failed)"
            " VALUES ('event-dlq', '{}', 'me', %s, 2, 1)", replayed,
        )  # fmt: skip
    standing = await read(database)
    assert standing.outcomes == {"delivered": 8, "dead_lettered": 6, "duplicate": 4, "stale": 2, "ignored": 10}
    assert (standing.open_dead_letters, standing.oldest_open_at) == (2, OLD)
    assert standing.replay_outcomes == {"replayed": 11, "skipped": 4, "failed": 2}
