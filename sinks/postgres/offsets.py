"""The stored offset of each partition, in the table `stream_offsets`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from psycopg.types.numeric import Int4, Int8

from keepstream.schemas.record import Incarnation
from keepstream.sinks.postgres.connection import Pool
from keepstream.sinks.postgres.statements import statement

LOAD = statement("load_offsets")
PEEK = statement("peek_offsets")
INSERT_PARTITION = statement("insert_partition")
INSERT_COUNTERS = statement("insert_counters")
REWIND = statement("rewind")
SKIP_GAP = statement("skip_gap")
SET_TOPIC_ID = statement("set_topic_id")


class StoredOffset(NamedTuple):
    """Everything in ``[first_offset, next_offset)`` is settled."""

    next_offset: int
    first_offset: int
    incarnation: Incarnation = Incarnation()
    """Of the topic that the offset belongs to."""


@dataclass(frozen=True, slots=True)
class PostgresOffsets:
    """Read at every assignment, moved only by `PostgresStore`. Raises psycopg errors untranslated."""

    pool: Pool

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        """Return the stored offsets of partitions that were consumed before, and restore missing counters."""
        async with self.pool.connection() as connection, connection.transaction():
            parameters = {"topic": topic, "partitions": list(partitions)}
            cursor = await connection.execute(LOAD, parameters)
            stored = {
                partition: StoredOffset(next_offset, first_offset, Incarnation(*incarnation))
                async for partition, next_offset, first_offset, *incarnation in cursor
            }
            await connection.execute(INSERT_COUNTERS, parameters)
            return stored

    async def peek(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return the incarnation and the committed next offset of all partitions, without taking a lock."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(PEEK, {"topic": topic})
            return {partition: (incarnation, offset) async for partition, incarnation, offset in cursor}

    async def open(self, topic: str, partition: int, next_offset: int, topic_id: str | None = None) -> None:
        """Insert a partition that was never consumed; one that exists is left alone."""
        await self._write(INSERT_PARTITION, topic, partition, Incarnation(0, topic_id), next_offset=next_offset)

    async def rewind(
        self, topic: str, partition: int, known: Incarnation, next_offset: int, new_topic_id: str | None = None
    ) -> bool:
        """Move the offset back: the topic was re-created or truncated. Return False when another worker has done it."""
        values = {"next_offset": next_offset, "new_topic_id": new_topic_id}
        return await self._write(REWIND, topic, partition, known, **values) > 0

    async def skip_gap(
        self, topic: str, partition: int, known: Incarnation, expected_offset: int, next_offset: int
    ) -> bool:
        """Move the offset over records that were deleted unread; return False when another worker has moved it."""
        values = {"next_offset": next_offset, "expected_offset": expected_offset}
        return await self._write(SKIP_GAP, topic, partition, known, **values) > 0

    async def set_topic_id(self, topic: str, partition: int, topic_id: str) -> None:
        """Store the topic id that the partition's offset belongs to, where none is stored."""
        await self._write(SET_TOPIC_ID, topic, partition, Incarnation(0, topic_id))

    async def _write(
        self, query: str, topic: str, partition: int, incarnation: Incarnation, **values: int | str | None
    ) -> int:
        widths = {name: Int8(value) if isinstance(value, int) else value for name, value in values.items()}
        parameters = {
            "topic": topic, "partition": Int4(partition),
            "incarnation": Int4(incarnation.number), "topic_id": incarnation.topic_id,
        }  # fmt: skip
        async with self.pool.connection() as connection:
            return (await connection.execute(query, parameters | widths)).rowcount
