"""A table of events in memory, and one in every PostgreSQL at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from keepstream.schemas.record import KafkaRecord
from keepstream.sinks.kafka import range_reader
from tests.conftest import POSTGRES_NAMES
from tests.contract.dead_letter_topics import Letters
from tests.contract.faust_fixtures import start, topic
from tests.contract.store_fixtures import MemoryTable, PostgresTable, Table, postgres_table
from tests.real import Database, Kafka

__all__ = ["start", "topic"]  # fixtures of the trap suites

REAL = [pytest.param(name, marks=pytest.mark.real) for name in POSTGRES_NAMES]


@pytest.fixture(params=["memory", *REAL])
async def table(request: pytest.FixtureRequest) -> AsyncIterator[Table]:
    """Partition 0 begins at offset 0, partition 1 as well."""
    if request.param == "memory":
        memory = MemoryTable()
        await open_both(memory)
        yield memory
        return
    postgres = request.getfixturevalue("postgres_named")(request.param)
    with postgres.new_schema() as database:
        async with postgres_table(database) as table:
            await open_both(table)
            yield table


@pytest.fixture
def direct_database(any_database: Database) -> Database:
    """Like `any_database`, where the session of a connection is its own."""
    if any_database.store_url != any_database.url:
        pytest.skip("behind a pooler a session belongs to nobody")
    return any_database


@pytest.fixture
def plain_database(any_database: Database) -> Database:
    """Like `any_database`, where the table of events has no partitions."""
    if any_database.value("SELECT relkind = 'p' FROM pg_class WHERE oid = 'events'::regclass"):
        pytest.skip("for a table without partitions")
    return any_database


@pytest.fixture
async def real_table(any_database: Database) -> AsyncIterator[PostgresTable]:
    async with postgres_table(any_database) as table:
        await open_both(table)
        yield table


async def open_both(table: Table) -> None:
    for partition in (0, 1):
        await table.open(partition, 0)


@pytest.fixture
def new_letters(kafka: Kafka) -> Callable[..., Letters]:
    return lambda partitions=1, **config: Letters(kafka, kafka.new_topic(partitions, "event-dlq", config))


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count every record that is taken over from librdkafka."""
    seen: list[int] = []
    real = range_reader.record_of

    def count(message: Any) -> KafkaRecord:
        seen.append(1)
        return real(message)

    monkeypatch.setattr(range_reader, "record_of", count)
    return seen
