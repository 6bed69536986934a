"""The exact totals, read for whoever shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.types.numeric import Int8

from keepstream.schemas.outcome import Fate
from keepstream.schemas.standing import OPEN_COUNT_LIMIT, Standing
from keepstream.sinks.postgres.statements import statement

if TYPE_CHECKING:
    from keepstream.sinks.postgres.connection import Pool

STANDING = statement("standing")


@dataclass(frozen=True, slots=True)
class PostgresStanding:
    """Reads `Standing` on the worker's pool. Raises psycopg errors and PoolTimeout untranslated."""

    pool: Pool

    async def read(self) -> Standing:
        async with self.pool.connection() as connection:
            row = await (await connection.execute(STANDING, {"limit": Int8(OPEN_COUNT_LIMIT)})).fetchone()
        assert row is not None  # noqa: S101 - an aggregate always returns a row
        delivered, duplicate, stale, failed, letters, oldest, replayed, skipped, refused = row
        outcomes: dict[str, int] = {
            Fate.DELIVERED: delivered,
            Fate.DUPLICATE: duplicate,
            Fate.STALE: stale,
            Fate.DEAD_LETTERED: failed,
        }
        return Standing(outcomes, letters, oldest, {"replayed": replayed, "skipped": skipped, "failed": refused})
