"""A real Debezium and its outbox router feed keepstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from tests.acceptance.conftest import System
from tests.acceptance.debezium import connect, connector
from tests.real import Kafka, Postgres, eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id integer PRIMARY KEY, price numeric NOT NULL, note text);
ALTER TABLE shop.orders REPLICA IDENTITY FULL;
CREATE TABLE shop.outbox (id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL,
                          type text NOT NULL, payload jsonb);
"""
SLOW = "SELECT o.* FROM shop.orders o, pg_sleep(3)"
CHANGES = {
    "table.include.list": "shop.orders", "decimal.handling.mode": "string",
    "snapshot.select.statement.overrides": "shop.orders", "snapshot.select.statement.overrides.shop.orders": SLOW,
}  # fmt: skip
OUTBOX = {
    "table.include.list": "shop.outbox", "tombstones.on.delete": "false", "transforms": "outbox",
    "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
    "transforms.outbox.table.fields.additional.placement": "type:header:eventType",
}  # fmt: skip

ROUTE = "transforms.outbox.route.topic.replacement"
READING = "SELECT FROM pg_stat_activity WHERE query LIKE '%, pg_sleep(3)%' AND pid <> pg_backend_pid()"
UUID = "0e984725-c51c-4bf4-9960-e1c80e27aba"
INSERT = (
    f"INSERT INTO shop.outbox VALUES ('{UUID}{{0}}', 'order', 'order-1', 'placed-{{0}}', "
    '\'{{"total": 1.10, "lines": [1]}}\')'
)
STORED = (
    "SELECT event_id, correlation_id, metadata, payload::text, created_at, updated_at FROM events ORDER BY event_id"
)


@pytest.fixture(scope="module")
def source() -> Iterator[str]:
    """The URL of a PostgreSQL that can be followed."""
    with EmbeddedPostgres(settings={"wal_level": "logical"}) as postgres:
        execute(postgres.url, *filter(str.strip, TABLES.split(";")))
        yield postgres.url


@pytest.fixture
def new_system(source: str, kafka: Kafka, tmp_path: Path) -> Iterator[Callable[[str], System]]:
    made: list[System] = []

    def make(topic: str) -> System:
        folder = tmp_path / topic
        folder.mkdir()
        made.append(System(kafka, stack.enter_context(Postgres(source).new_schema()), folder))
        made[-1].topic = topic
        kafka.create_topic(topic)
        return made[-1]

    with ExitStack() as stack:
        yield make
        for system in made:
            system.stop()


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_the_events_are_the_rows_of_a_followed_table(source: str, new_system: Callable[[str], System]) -> None:
    system = new_system("changes.shop.orders")
    execute(source, "INSERT INTO shop.orders VALUES (1, 1.10, 'old'), (2, 2.0000000000000000001, 'old')")
    changes = connector(source, "changes", CHANGES, schemas=True)
    with connect(system.kafka.bootstrap_servers, system.folder, changes) as debezium:
        system.start_worker(KEEPSTREAM_MAPPING__PRESET="debezium")
        eventually(lambda: rows(source, READING), 30, "the snapshot is being read")
        execute(source, "UPDATE shop.orders SET note = 'changed while the snapshot was read' WHERE id = 1")
        system.settled(3)
        assert_mirrored(system, source)
        execute(
            source,
            "INSERT INTO shop.orders VALUES (3, 3, NULL); UPDATE shop.orders SET note = 'same time' WHERE id = 3",
            "UPDATE shop.orders SET price = 12345678901234567890.10 WHERE id = 1",
            "DELETE FROM shop.orders WHERE id = 2",  # and its tombstone
            "UPDATE shop.orders SET id = 4 WHERE id = 3",  # a delete, its tombstone, an insert
        )
        system.settled(11)
        totals = system.database.totals()
        assert (totals["delivered"], totals["duplicate"], totals["ignored"], totals["failed"]) == (4, 5, 2, 0)
        assert_mirrored(system, source, 2, 3)
        debezium.kill_and_restart()
        execute(source, "INSERT INTO shop.orders VALUES (5, 5, 'after a crash of Connect')")
        assert_delivered(system, 5)
        assert_mirrored(system, source, 2, 3)
    assert system.dead() == {}
    system.cli("audit", "--deep", KEEPSTREAM_MAPPING__PRESET="debezium")


def assert_delivered(system: System, count: int) -> None:
    eventually(lambda: system.database.totals()["delivered"] == count, 60, f"{count} events are delivered")


def assert_mirrored(system: System, source: str, *deleted: int) -> None:
    """Assert that the events are the table's rows, and those that were deleted, by id."""
    stored = "SELECT payload->>'id', payload->>'price', payload->>'note' FROM events WHERE {} ORDER BY event_id"
    table = rows(source, "SELECT id::text, price::text, note FROM shop.orders ORDER BY id")
    assert system.database.rows(stored.format("metadata->'deleted' IS NULL")) == table
    gone = system.database.rows(stored.format("metadata->'deleted' = 'true'"))
    assert [int(id_) for id_, _, _ in gone] == [*deleted]


def test_each_row_of_an_outbox_is_an_event_once(
    source: str, new_system: Callable[[str], System], tmp_path: Path
) -> None:
    text, objects = new_system("text.order"), new_system("objects.order")
    names: dict[str, dict[str, str]] = {"text": {}, "objects": {"transforms.outbox.table.expand.json.payload": "true"}}
    connectors = [
        connector(source, name, OUTBOX | {ROUTE: f"{name}.${{routedByValue}}"} | more, schemas=bool(more))
        for name, more in names.items()
    ]
    with connect(text.kafka.bootstrap_servers, tmp_path, *connectors) as debezium:
        for system in (text, objects):
            system.start_worker(KEEPSTREAM_MAPPING__PRESET="debezium-outbox")
        execute(source, INSERT.format(1), f"{INSERT.format(2)}; DELETE FROM shop.outbox WHERE type = 'placed-2'")
        for system in (text, objects):
            system.settled(2)
        before = {system.topic: system.database.rows(STORED) for system in (text, objects)}
        debezium.kill_and_restart()  # the row that is still there is sent again
        execute(source, INSERT.format(3))
        for system in (text, objects):
            assert_delivered(system, 3)
    for system in (text, objects):
        totals = system.database.totals()
        assert totals["duplicate"] >= 1
        assert (totals["updated"], totals["stale"], totals["failed"]) == (0, 0, 0)
        assert system.database.rows(STORED)[:2] == before[system.topic]
        system.cli("audit", "--deep", KEEPSTREAM_MAPPING__PRESET="debezium-outbox")
    event = (f"{UUID}1", "order-1", {"eventType": "placed-1"})
    assert before[text.topic][0][:4] == (*event, '{"lines": [1], "total": 1.10}')
    assert before[objects.topic][0][:4] == (*event, '{"lines": [1], "total": 1.1}')
