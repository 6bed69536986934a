"""One table of events, seen from outside: in memory and in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import psycopg

from keepstream.app.testing.memory import MemoryStore, Row
from keepstream.processors.ports import EventStore
from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.schemas.dead_letter import DeadLetter
from keepstream.schemas.event import ValidEvent
from keepstream.schemas.outcome import BatchRange, OutcomeCounts, Settlement
from keepstream.schemas.record import Incarnation
from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.offsets import PostgresOffsets
from keepstream.sinks.postgres.store import PostgresStore
from tests.real import Database


@dataclass(frozen=True)
class StatusReading:
    """A row as a query sees it."""

    status: str
    payload: Any
    created_at: datetime
    place: tuple[int, int]


class Table(Protocol):
    """A store, and what it holds."""

    @property
    def store(self) -> EventStore: ...
    async def open(self, partition: int, start: int, topic_id: str | None = None) -> None: ...
    async def rewind(self) -> None:
        """Start partition 0 at offset 0 again, as when the topic was re-created."""
        ...

    def clear(self) -> None: ...
    def leave(self, event: ValidEvent, status: str) -> None:
        """Put a row there as versions before 2 left it behind, counted nowhere."""
        ...

    def rows(self) -> dict[str, StatusReading]: ...
    def totals(self) -> dict[str, int]: ...
    def next_offset(self, partition: int = 0) -> int: ...
    def letters(self) -> set[str]: ...


@dataclass
class MemoryTable:
    store: MemoryStore = field(default_factory=MemoryStore)

    async def open(self, partition: int, start: int, topic_id: str | None = None) -> None:
        self.store.next_offsets["events", partition] = start
        self.store.topic_ids["events", partition] = topic_id

    async def rewind(self) -> None:
        self.store.next_offsets["events", 0] = 0
        self.store.incarnations["events", 0] += 1

    def clear(self) -> None:
        self.store = MemoryStore()

    def leave(self, event: ValidEvent, status: str) -> None:
        version = (parse_timestamp(event.timestamp), event.record.partition, event.record.offset)
        self.store.rows[event.event_id] = Row(event.document, status, version)

    def rows(self) -> dict[str, StatusReading]:
        return {event_id: _seen(row.status, row.document, row.version) for event_id, row in self.store.rows.items()}

    def totals(self) -> dict[str, int]:
        return totals_of(self.store.totals)

    def next_offset(self, partition: int = 0) -> int:
        return self.store.next_offsets["events", partition]

    def letters(self) -> set[str]:
        return set(self.store.dead_letters)


@dataclass
class PostgresTable:
    """Reads over a connection of its own, opened when first needed."""

    store: PostgresStore
    database: Database
    _reader: psycopg.Connection[tuple[Any, ...]] | None = None

    def read(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        self._reader = self._reader or self.database.connect()
        return self._reader.execute(query, parameters).fetchall()

    def close(self) -> None:
        if self._reader:
            self._reader.close()

    async def open(self, partition: int, start: int, topic_id: str | None = None) -> None:
        await PostgresOffsets(self.store.pool).open("events", partition, start, topic_id)

    async def rewind(self) -> None:
        await PostgresOffsets(self.store.pool).rewind("events", 0, Incarnation(), next_offset=0)

    def clear(self) -> None:
        self.database.execute("TRUNCATE events, stream_offsets, event_counters, dead_letters")

    def leave(self, event: ValidEvent, status: str) -> None:
        query = """
            INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id, source_topic,
                                source_partition, source_offset)
            SELECT event_id, payload, metadata, %s, timestamp, correlation_id, 'events', %s, %s
            FROM jsonb_to_record(%s) AS x(event_id text, payload jsonb, metadata jsonb, timestamp timestamptz,
                                          correlation_id text)"""
        record = event.record
        self.database.execute(query, status, record.partition, record.offset, event.document.decode())

    def rows(self) -> dict[str, StatusReading]:
        query = "SELECT event_id, status, payload, created_at, source_partition, source_offset FROM events"
        return {row[0]: StatusReading(row[1], row[2], row[3], (row[4], row[5])) for row in self.read(query)}

    def totals(self) -> dict[str, int]:
        names = totals_of(OutcomeCounts())
        return dict(zip(names, self.read(f"SELECT {', '.join(names)} FROM event_totals")[0], strict=True))

    def next_offset(self, partition: int = 0) -> int:
        query = "SELECT next_offset FROM stream_offsets WHERE topic = 'events' AND partition = %s"
        return int(self.read(query, partition)[0][0])

    def letters(self) -> set[str]:
        return {row[0] for row in self.read("""SELECT concat_ws('-', topic, partition, "offset") FROM dead_letters""")}


@asynccontextmanager
async def postgres_table(database: Database, **policy: Any) -> AsyncIterator[PostgresTable]:
    """Open a store on a migrated schema."""
    pool = await open_pool(
        ConnectionPolicy(**{"url": database.store_url or database.url, "schema": database.schema} | policy)
    )
    table = PostgresTable(PostgresStore(pool), database)
    try:
        yield table
    finally:
        table.close()
        await pool.close()


def totals_of(tally: OutcomeCounts) -> dict[str, int]:
    return {
        "total": tally.total,
        "delivered": tally.delivered,
        "failed": tally.dead_lettered,
        "duplicate": tally.duplicate,
        "stale": tally.stale,
        "updated": tally.updated,
        "ignored": tally.ignored,
    }


def offset_range(begin: int, end: int, partition: int = 0) -> BatchRange:
    return BatchRange("events", partition, begin, end, end - begin)


async def settle(
    table: Table, begin: int, end: int, *events: ValidEvent, partition: int = 0, dead: Sequence[DeadLetter] = ()
) -> OutcomeCounts:
    """Take the fast path."""
    return await table.store.settle(Settlement(offset_range(begin, end, partition), events, dead))


async def by_steps(
    table: Table, begin: int, end: int, *events: ValidEvent, partition: int = 0, dead: Sequence[DeadLetter] = ()
) -> OutcomeCounts:
    """Settle each record in a range of its own: events step by step, dead letters in between."""
    tally = OutcomeCounts()
    both: list[ValidEvent | DeadLetter] = [*events, *dead]
    records = sorted(both, key=_offset)
    for one in records:
        next_offset = end if one is records[-1] else one.record.offset + 1
        if isinstance(one, ValidEvent):
            tally += await settle_by_steps(table, begin, next_offset, one, partition=partition)
        else:
            tally += await settle(table, begin, next_offset, partition=partition, dead=[one])
        begin = next_offset
    return tally


async def settle_by_steps(table: Table, begin: int, end: int, *events: ValidEvent, partition: int = 0) -> OutcomeCounts:
    """Take the step path, each event in a range of its own."""
    tally = OutcomeCounts()
    for number, event in enumerate(events, 1):
        next_offset = end if number == len(events) else begin + 1
        tally += await table.store.settle_by_steps(BatchRange("events", partition, begin, next_offset, 1), event)
        begin = next_offset
    return tally


def _offset(one: ValidEvent | DeadLetter) -> int:
    return one.record.offset


def _seen(status: str, document: bytes, version: tuple[datetime, int, int]) -> StatusReading:
    fields = json.loads(document)
    return StatusReading(status, fields["payload"], parse_timestamp(fields["timestamp"]), version[1:])
