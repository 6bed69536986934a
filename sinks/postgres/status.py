"""Where the stream stands: settled offsets and exact counters per partition, and the last replays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from keepstream.sinks.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

OVERVIEW = statement("overview")
_REPLAYS = """
SELECT id, state, started_by, started_at, finished_at, selected, replayed, skipped, failed, planned <> '{}' AS held
FROM replays WHERE dlq_topic = %s ORDER BY id DESC LIMIT %s"""


@dataclass(frozen=True, slots=True)
class Settled:
    """What PostgreSQL says about a partition; counts are records since the beginning."""

    partition: int
    next_offset: int
    moved_at: datetime
    delivered: int
    duplicate: int
    stale: int
    failed: int


def settled_of(connection: Connection, topic: str) -> Sequence[Settled]:
    return [Settled(*row) for row in connection.execute(OVERVIEW, {"topic": topic}).fetchall()]


def last_replays(connection: Connection, dlq_topic: str, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs. ``held``: it was ended and holds letters that only its resume will send."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_REPLAYS, [dlq_topic, limit]).fetchall()
