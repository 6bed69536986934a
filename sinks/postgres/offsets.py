"""The stored offset of each partition, in the table `stream_offsets`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from psycopg.types.numeric import Int4, Int8

from keepstream.sinks.postgres.connection import Pool
from keepstream.sinks.postgres.statements import statement

LOAD = statement("load_offsets")
PEEK = statement("peek_offsets")
INSERT_PARTITION = statement("insert_partition")
INSERT_COUNTERS = statement("insert_counters")
REWIND = statement("rewind")
SKIP_GAP = statement("skip_gap")
LOAD_TOPIC_IDS = statement("load_topic_ids")
SET_TOPIC_ID = statement("set_topic_id")


class StoredOffset(NamedTuple):
    """Everything in ``[first_offset, next_offset)`` is settled."""

    next_offset: int
    first_offset: int
    incarnation: int = 0
    """How often the topic was found re-created or truncated."""


@dataclass(frozen=True, slots=True)
class PostgresOffsets:
    """Read at every assignment, moved only by `PostgresStore`. Raises psycopg errors untranslated."""

    pool: Pool

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        """Return the stored offsets of partitions that were consumed before, and restore missing counters."""
        async with self.pool.connection() as connection, connection.transaction():
            parameters = {"topic": topic, "partitions": list(partitions)}
            cursor = await connection.execute(LOAD, parameters)
            stored = {partition: StoredOffset(*offsets) async for partition, *offsets in cursor}
            await connection.execute(INSERT_COUNTERS, parameters)
            return stored

    async def peek(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return the incarnation and the committed next offset of all partitions, without taking a lock."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(PEEK, {"topic": topic})
            return {partition: (incarnation, offset) async for partition, incarnation, offset in cursor}

    async def open(self, topic: str, partition: int, next_offset: int, topic_id: str | None = None) -> None:
        """Insert a partition that was never consumed; one that exists is left alone."""
        await self._write(INSERT_PARTITION, topic, partition, next_offset=next_offset, topic_id=topic_id)

    async def rewind(self, topic: str, partition: int, incarnation: int, next_offset: int) -> bool:
        """Move the offset back: the topic was re-created or truncated. Return False when another worker has done it."""
        async with self.pool.connection() as connection:
            parameters = {
                "topic": topic, "partition": Int4(partition), "incarnation": Int4(incarnation),
                "next_offset": Int8(next_offset),
            }  # fmt: skip
            return (await connection.execute(REWIND, parameters)).rowcount > 0

    async def skip_gap(
        self, topic: str, partition: int, incarnation: int, expected_offset: int, next_offset: int
    ) -> bool:
        """Move the offset over records that were deleted unread; return False when another worker has moved it."""
        values = {"incarnation": incarnation, "next_offset": next_offset, "expected_offset": expected_offset}
        return await self._write(SKIP_GAP, topic, partition, **values) > 0

    async def load_topic_ids(self, topic: str, partitions: Iterable[int]) -> dict[int, str]:
        """Return the topic id that each partition's offset belongs to, where it is known."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(LOAD_TOPIC_IDS, {"topic": topic, "partitions": list(partitions)})
            return dict(await cursor.fetchall())

    async def set_topic_id(self, topic: str, partition: int, known_id: str | None, topic_id: str) -> None:
        """Store the topic id that the partition's offset belongs to, unless another worker has changed ``known_id``."""
        await self._write(SET_TOPIC_ID, topic, partition, known_id=known_id, topic_id=topic_id)

    async def _write(self, query: str, topic: str, partition: int, **values: int | str | None) -> int:
        widths = {name: Int8(value) if isinstance(value, int) else value for name, value in values.items()}
        async with self.pool.connection() as connection:
            cursor = await connection.execute(query, {"topic": topic, "partition": Int4(partition), **widths})
            return cursor.rowcount
