"""The whole of dead letters that their topic is too small for: kept by the worker, read by the commands."""

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

KEEP = statement("keep_original")
FIND = statement("find_original")


@dataclass(frozen=True, slots=True)
class PostgresClaimChecks:
    """Fits `keepstream.sinks.kafka.dead_letters.ClaimCheckStore`."""

    pool: Pool

    async def keep(self, originals: Sequence[StoredDeadLetter]) -> None:
        """Write each in a transaction of its own: they are large, and the same again changes nothing."""
        try:
            async with self.pool.connection() as connection:
                for original in originals:
                    given = {"letter_id": original.dead_letter_id, "sha256": original.sha256, "letter": original.packed}
                    await connection.execute(KEEP, given, binary=True)
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            # The record is not to blame: with a topic that takes it, it would need no place here.
            raise SystemicError(_failure(error)) from error


@dataclass(slots=True)
class ClaimCheckReader:
    """Puts originals in the place of references. Connects when the first one is met: most topics hold none."""

    connect: Callable[[], psycopg.Connection[tuple[Any, ...]]]
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def whole(self, letter: DeadLetterRecord) -> DeadLetterRecord:
        """Return the letter as it would stand in a large enough topic; a reference whose original is gone as it is.

        Raises ValueError when the original is damaged.
        """
        sha256 = claim_check_sha256(letter)
        if sha256 is None:
            return letter
        if self._connection is None:
            self._connection = self.connect()
        given = {"letter_id": letter.id, "sha256": sha256}
        row = self._connection.execute(FIND, given, binary=True).fetchone()
        return letter if row is None else redeem(letter, row[0])


def _failure(error: Exception) -> Failure:
    why = getattr(error, "sqlstate", None)
    message = f"a dead letter that is too large for its topic could not be kept in PostgreSQL: {type(error).__name__}"
    return Failure(Step.STORE, Verdict.SYSTEMIC, "original_not_kept", message, sqlstate=why)
