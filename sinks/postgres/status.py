"""Queries of the status: offsets and exact counters per partition, last replays, last errors, totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.numeric import Int8

from keepstream.schemas.outcome import OPEN_COUNT_LIMIT, Outcome, Totals
from keepstream.sinks.postgres.connection import Connection, Pool
from keepstream.sinks.postgres.statements import statement

PARTITION_PROGRESS = statement("partition_progress")
_REPLAYS = """
SELECT id, state, started_by, started_at, finished_at, selected, replayed, skipped, failed, planned <> '{}' AS "held"
FROM replays WHERE dlq_topic = %s ORDER BY id DESC LIMIT %s"""


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """Stored offset and counters of a partition, since it was first consumed."""

    partition: int
    next_offset: int
    moved_at: datetime
    delivered: int
    duplicate: int
    stale: int
    ignored: int
    failed: int


def partition_progress(connection: Connection, topic: str) -> Sequence[PartitionProgress]:
    return [PartitionProgress(*row) for row in connection.execute(PARTITION_PROGRESS, {"topic": topic}).fetchall()]


def other_topics(connection: Connection, topic: str) -> list[str]:
    """Return the other topics whose events are in the same tables."""
    query = "SELECT DISTINCT topic FROM stream_offsets WHERE topic <> %s ORDER BY topic"
    return [found for (found,) in connection.execute(query, [topic]).fetchall()]


def last_replays(connection: Connection, dlq_topic: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs. ``"held"``: it was interrupted, and only its resume sends its planned dead letters."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_REPLAYS, [dlq_topic, limit]).fetchall()


LAST_ERRORS = statement("last_errors")


@dataclass(frozen=True, slots=True)
class LastError:
    """A dead letter without its record. ``id`` is what `keepstream dlq show` takes."""

    failed_at: datetime
    step: str
    verdict: str
    reason: str
    id: str
    event_id: str | None
    message: str


def last_errors(connection: Connection, limit: int) -> Sequence[LastError]:
    """Return the newest open dead letters."""
    return [LastError(*row) for row in connection.execute(LAST_ERRORS, {"limit": limit}).fetchall()]


TOTALS = statement("totals")


@dataclass(frozen=True, slots=True)
class PostgresTotals:
    """Reads `Totals` on the worker's pool. Raises psycopg errors and PoolTimeout untranslated."""

    pool: Pool

    async def read(self) -> Totals:
        async with self.pool.connection() as connection:
            row = await (await connection.execute(TOTALS, {"limit": Int8(OPEN_COUNT_LIMIT)})).fetchone()
        assert row is not None  # noqa: S101 - an aggregate always returns a row
        delivered, duplicate, stale, ignored, failed, dead_letters, oldest, replayed, skipped, refused, topics = row
        outcomes: dict[str, int] = {
            Outcome.DELIVERED: delivered,
            Outcome.DUPLICATE: duplicate,
            Outcome.STALE: stale,
            Outcome.IGNORED: ignored,
            Outcome.DEAD_LETTERED: failed,
        }
        replays = {"replayed": replayed, "skipped": skipped, "failed": refused}
        return Totals(outcomes, dead_letters, oldest, replays, tuple(topics))
