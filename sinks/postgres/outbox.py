"""The table of dead letters that are not confirmed yet, as `keepstream.processors.ports.DeadLetterOutbox`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.types.numeric import Int4, Int8

from keepstream.schemas.dead_letter_json import from_json_line
from keepstream.schemas.failure import Step
from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.postgres.connection import Pool
from keepstream.sinks.postgres.errors import step_connection
from keepstream.sinks.postgres.statements import statement

LOAD = statement("load_outbox")
EMPTY = statement("empty_outbox")


@dataclass(frozen=True, slots=True)
class PostgresOutbox:
    """Rows are written by `PostgresStore.settle`, with the offset that passes the record. Raises StepError."""

    pool: Pool

    async def load(self, topic: str, partition: int) -> list[KafkaRecord]:
        """Return the letters of a partition, oldest first, byte for byte as they were decided."""
        async with step_connection(self.pool, Step.STORE) as connection:
            cursor = await connection.execute(LOAD, {"topic": topic, "partition": Int4(partition)}, binary=True)
            return [from_json_line(letter) for (letter,) in await cursor.fetchall()]

    async def remove(self, topic: str, partition: int, places: Mapping[int, str | None]) -> None:
        """Note where confirmed letters lie, by the offset of the record that died, and forget them here."""
        given = {
            "topic": topic,
            "partition": Int4(partition),
            "offsets": [*map(Int8, places)],
            "places": [*places.values()],
        }
        async with step_connection(self.pool, Step.STORE) as connection:
            await connection.execute(EMPTY, given)
