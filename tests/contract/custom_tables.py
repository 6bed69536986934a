"""A table of a test's own, filled through the pipeline and the store of a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from keepstream.app.config.table import TableSettings
from keepstream.app.testing.memory import MemoryDeadLetters, RecordedMetrics
from keepstream.processors.outbox import OutboxPublisher
from keepstream.processors.pause import Pause
from keepstream.processors.pipeline import Pipeline, Policies
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.sinks.postgres.outbox import PostgresOutbox
from keepstream.sinks.postgres.tables.plan import Plan, apply_plan, make_plan
from tests.builders import make_batch, make_record, make_value
from tests.contract.store_fixtures import PostgresTable, postgres_table
from tests.real import Database
from tests.unit.pipeline_fixture import QUICK

LOCK_TIMEOUT_S = 4.0
Settings = dict[str, Any]


def planned(database: Database, settings: Settings | None) -> Plan:
    """Return the plan of settings; of none without them."""
    with database.connect() as connection:
        return make_plan(connection, TableSettings(**(settings or {})).definition())


def applied(database: Database, settings: Settings | None, lock_timeout_s: float = LOCK_TIMEOUT_S) -> Plan:
    """Apply settings to a table that can be filled."""
    definition = TableSettings(**(settings or {})).definition()
    with database.connect() as connection:
        plan = make_plan(connection, definition)
        assert plan.problems == (), plan.problems
        apply_plan(connection, definition, plan, lock_timeout_s)
    return plan


@dataclass
class FilledTable:
    """A custom table, and a partition whose events fill it."""

    events: PostgresTable
    dead_letters: MemoryDeadLetters = field(default_factory=MemoryDeadLetters)
    offset: int = 0

    async def process(self, *values: bytes) -> dict[int, str]:
        """Process values as one batch; return the reasons of those that died, by their number."""
        begin, before = self.offset, len(self.dead_letters.records)
        records = [make_record(value, begin + number) for number, value in enumerate(values)]
        metrics = RecordedMetrics()
        pause = Pause(metrics)
        outbox = OutboxPublisher(PostgresOutbox(self.events.store.pool), self.dead_letters, metrics, pause)
        pipeline = Pipeline(self.events.store, outbox, metrics, pause, Policies(QUICK, QUICK))
        counts: OutcomeCounts = await pipeline.process(make_batch(records))
        assert counts.total == len(values)
        self.offset += len(values)
        return {
            dead.record.offset - begin: dead.failure.reason for dead in self.dead_letters.published[before:]
        }  # fmt: skip

    async def take(self, *values: bytes) -> None:
        """Process values of which none dies."""
        assert await self.process(*values) == {}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.events.database.rows(query)


@asynccontextmanager
async def filled(database: Database, ddl: str, settings: Settings) -> AsyncIterator[FilledTable]:
    """Create a table, and open a store that fills it as the settings say."""
    with database.connect() as connection:
        connection.execute(ddl.encode())
    applied(database, settings)
    async with postgres_table(database) as events:
        await events.open(0, 0)
        yield FilledTable(events)


def version(event_id: str, payload: object, day: int = 24, **changes: Any) -> bytes:
    """Return the version of an event of a day in November 2026, or later."""
    timestamp = f"2026-11-{day:02d}T10:00:00Z" if day <= 30 else f"2026-12-{day - 30:02d}T10:00:00Z"
    return make_value(event_id=event_id, payload=payload, timestamp=timestamp, **changes)


def deletion(event_id: str, day: int = 60) -> bytes:
    """Return what a tombstone becomes."""
    return version(event_id, {}, day, metadata={"deleted": True})
