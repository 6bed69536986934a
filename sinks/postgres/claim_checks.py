"""The table of dead letters that are too large for their topic: written by workers, read by commands."""

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
    """The table as `keepstream.sinks.kafka.dead_letters.ClaimCheckStore`."""

    pool: Pool

    async def keep(self, dead_letters: Sequence[StoredDeadLetter]) -> None:
        """Insert each in a transaction of its own: they are large. One that exists is left alone."""
        try:
            async with self.pool.connection() as connection:
                for stored in dead_letters:
                    given = {"letter_id": stored.dead_letter_id, "sha256": stored.sha256, "packed": stored.packed}
                    await connection.execute(INSERT, given, binary=True)
        except (psycopg.Error, PoolTimeout, PoolClosed) as error:
            # Not the record's error: in a topic with a higher limit it would need no claim check.
            message = f"could not store a dead letter that is too large for its topic: {type(error).__name__}"
            sqlstate = getattr(error, "sqlstate", None)
            failure = Failure(Step.STORE, Verdict.SYSTEMIC, "original_not_kept", message, sqlstate=sqlstate)
            raise SystemicError(failure) from error


@dataclass(slots=True)
class ClaimCheckReader:
    """Redeems claim checks. Connects at the first one: most topics have none."""

    connect: Callable[[], psycopg.Connection[tuple[Any, ...]]]
    _connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def resolve(self, dead_letter: DeadLetterRecord) -> DeadLetterRecord:
        """Return the dead letter of a claim check; the claim check itself where PostgreSQL has no such row.

        Raises ValueError when the stored dead letter is damaged.
        """
        sha256 = claim_check_sha256(dead_letter)
        if sha256 is None:
            return dead_letter
        if self._connection is None:
            self._connection = self.connect()
        given = {"letter_id": dead_letter.id, "sha256": sha256}
        row = self._connection.execute(SELECT, given, binary=True).fetchone()
        return dead_letter if row is None else redeem(dead_letter, row[0])
