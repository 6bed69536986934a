"""Stores dead letters that are too large for their topic (the worker), and reads them back (the commands)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout

from keepstream.schemas.claim_check import StoredDeadLetter, claim_check_sha256, redeem
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.failure import Failure, Step, SystemicError, Verdict
from keepstream.sinks.postgres.connection import Pool
from keepstream.sinks.postgres.statements import statement

INSERT = statement("insert_claim_check")
SELECT = statement("select_claim_check")


@dataclass(frozen=True, slots=True)
class PostgresClaimChecks:
    """Fits `keepstream.sinks.kafka.dead_letters.ClaimCheckStore`."""

    pool: Pool

    async def keep(self, originals: Sequence[StoredDeadLetter]) -> None:
        """Write each in a transaction of its own: they are large, and the same again changes nothing."""
        try:
            async with self.pool.connection() as connection:
                for original in originals:
                    given = {"letter_id": original.dead_letter_id, "sha256": original.sha256, "packed": original.packed}
                    await connection.execute(INSERT, given, binary=True)
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            # Not an error of the record: a topic that takes it would need no claim check.
            raise SystemicError(_failure(error)) from error


@dataclass(slots=True)
class ClaimCheckReader:
    """Replaces claim checks by the dead letters they stand for. Connects at the first one: most topics hold none."""

    connect: Callable[[], psycopg.Connection[tuple[Any, ...]]]
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def resolve(self, dead_letter: DeadLetterRecord) -> DeadLetterRecord:
        """Return the dead letter that a claim check stands for; the claim check itself where PostgreSQL lacks it.

        Raises ValueError when the original is damaged.
        """
        sha256 = claim_check_sha256(dead_letter)
        if sha256 is None:
            return dead_letter
        if self._connection is None:
            self._connection = self.connect()
        given = {"letter_id": dead_letter.id, "sha256": sha256}
        row = self._connection.execute(SELECT, given, binary=True).fetchone()
        return dead_letter if row is None else redeem(dead_letter, row[0])


def _failure(error: Exception) -> Failure:
    why = getattr(error, "sqlstate", None)
    message = f"a dead letter that is too large for its topic could not be kept in PostgreSQL: {type(error).__name__}"
    return Failure(Step.STORE, Verdict.SYSTEMIC, "original_not_kept", message, sqlstate=why)
