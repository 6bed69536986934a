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
LOCK_PARTITIONS = statement("lock_partitions")
INSERT_COUNTERS = statement("insert_counters")
REWIND = statement("rewind")
SKIP_GAP = statement("skip_gap")
SET_TOPIC_ID = statement("set_topic_id")
FILLED = statement("table_filled")


class StoredOffset(NamedTuple):
    """Everything in ``[first_offset, next_offset)`` is settled."""

    next_offset: int
    first_offset: int
    incarnation: Incarnation = Incarnation()
    """Of the topic that the offset belongs to."""


class RefusedTopicError(Exception):
    """A topic is not read, until an operator has done what the message says."""


class TableNotFilledError(RefusedTopicError):
    """The settings name a custom table, and no trigger fills it."""

    def __init__(self, topic: str, table: str) -> None:
        super().__init__(
            f"no trigger fills the table {table} with the events of {topic}, so they would be missing there: run "
            "`keepstream tables plan`, then `keepstream tables apply`"
        )


class OtherTopicError(RefusedTopicError):
    """The tables have events of another topic."""

    def __init__(self, topic: str, other: str) -> None:
        super().__init__(
            f"the tables of {topic} have events of the topic {other}, and equal ids of two topics would be one event: "
            f"give {topic} a schema of its own (KEEPSTREAM_POSTGRES__SCHEMA_NAME, or of several topics schema_name in "
            "its own postgres section); or, if it is the same stream under another name, consent with "
            "KEEPSTREAM_POSTGRES__ALLOW_OTHER_TOPICS=true, or of several topics with allow_other_topics there"
        )


@dataclass(frozen=True, slots=True)
class PostgresOffsets:
    """Read at every assignment, moved only by `PostgresStore`. Raises psycopg errors untranslated."""

    pool: Pool
    allow_other_topics: bool = False
    """Whether another topic's events may be in the same tables."""
    table: str | None = None
    """The custom table that a trigger has to fill."""

    async def load(self, topic: str, partitions: Iterable[int]) -> dict[int, StoredOffset]:
        """Return the stored offsets of partitions that were consumed before, and restore missing counters.

        Raises TableNotFilledError when no trigger fills the custom table.
        """
        async with self.pool.connection() as connection, connection.transaction():
            if self.table and not await (await connection.execute(FILLED)).fetchone():
                raise TableNotFilledError(topic, self.table)
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
        """Insert a partition that was never consumed; one that exists is left alone.

        Raises OtherTopicError when the tables are those of another topic: equal ids of both would be one event.
        """
        parameters = {
            "topic": topic, "partition": Int4(partition), "next_offset": Int8(next_offset), "topic_id": topic_id,
            "allow_other_topics": self.allow_other_topics,
        }  # fmt: skip
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(LOCK_PARTITIONS)
            row = await (await connection.execute(INSERT_PARTITION, parameters)).fetchone()
        if row and row[0] is not None:
            raise OtherTopicError(topic, row[0])

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
