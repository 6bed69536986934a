"""The schema: applied once, by however many at once, and never under a changed text."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from keepstream.sinks.postgres.migrate import MigrationError, migrate, migrations, pending
from tests.postgres_versions import PARTITION
from tests.real import Database, Postgres

pytestmark = pytest.mark.real

TABLES = {"events", "stream_offsets", "event_counters", "dead_letters", "replays", "schema_migrations"}
Connection = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def connection_to(postgres: Postgres, schema: str) -> Iterator[Connection]:
    with closing(psycopg.connect(postgres.url, autocommit=True, options=f"-c search_path={schema}")) as connection:
        yield connection


@pytest.fixture
def schema(each_postgres: Postgres) -> Iterator[str]:
    """A schema that does not exist yet."""
    name = f"m_{uuid.uuid4().hex[:12]}"
    yield name
    with connection_to(each_postgres, name) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


def tables(connection: Connection, schema: str) -> set[str]:
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'"
    return {row[0] for row in connection.execute(query, [schema])}


def test_a_new_schema_gets_everything_and_a_second_run_nothing(each_postgres: Postgres, schema: str) -> None:
    with connection_to(each_postgres, schema) as connection:
        assert migrate(connection, schema) == migrations()
        assert tables(connection, schema) >= TABLES
        assert migrate(connection, schema) == []
        rows = connection.execute("SELECT version, name, checksum FROM schema_migrations ORDER BY version").fetchall()
    assert rows == [(m.version, m.name, m.checksum) for m in migrations()]


def test_what_is_pending_is_told_without_touching_anything(each_postgres: Postgres, schema: str) -> None:
    with connection_to(each_postgres, schema) as connection:
        assert pending(connection) == migrations()
        assert tables(connection, schema) == set()
        migrate(connection, schema)
        assert pending(connection) == []


def test_many_at_once_apply_it_once(each_postgres: Postgres, schema: str) -> None:
    def run(_: int) -> int:
        with connection_to(each_postgres, schema) as connection:
            return len(migrate(connection, schema))

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(run, range(6))) == [0] * 5 + [len(migrations())]


def test_a_migration_applied_with_another_text_is_refused_by_number(each_postgres: Postgres, schema: str) -> None:
    with connection_to(each_postgres, schema) as connection:
        migrate(connection, schema)
        connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE version = 1")
        with pytest.raises(MigrationError, match="migration 1 was applied with another text"):
            migrate(connection, schema)
        with pytest.raises(MigrationError, match="migration 1"):
            pending(connection)


def test_a_migration_that_fails_leaves_nothing_behind(each_postgres: Postgres, schema: str) -> None:
    with connection_to(each_postgres, schema) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute("CREATE TABLE replays (other int)")
        with pytest.raises(psycopg.errors.DuplicateTable):
            migrate(connection, schema)
        assert tables(connection, schema) == {"replays"}


def test_a_migration_of_a_newer_version_is_left_alone(each_postgres: Postgres, schema: str) -> None:
    with connection_to(each_postgres, schema) as connection:
        migrate(connection, schema)
        connection.execute("INSERT INTO schema_migrations VALUES (9999, 'future', 'x')")
        assert migrate(connection, schema) == []


def test_the_search_path_of_the_session_is_given_back(each_postgres: Postgres, schema: str) -> None:
    with connection_to(each_postgres, "public") as connection:
        migrate(connection, schema)
        assert connection.execute("SHOW search_path").fetchall() == [("public",)]


def test_migrations_are_numbered_without_gap() -> None:
    assert [m.version for m in migrations()] == list(range(1, len(migrations()) + 1))


def test_events_are_partitioned_by_the_script_only_while_there_are_none(plain_database: Database) -> None:
    insert = """INSERT INTO events (event_id, payload, status, created_at, source_topic, source_partition,
                                    source_offset)
                VALUES ('a', '{}', 'delivered', now(), 'events', 0, 0)"""
    plain_database.execute(insert)
    with plain_database.connect() as owner, pytest.raises(psycopg.errors.RaiseException, match="events has rows"):
        owner.execute(PARTITION.read_bytes())
    plain_database.execute("DELETE FROM events")
    before = columns_and_constraints(plain_database)
    with plain_database.connect() as owner:
        owner.execute(PARTITION.read_bytes())
    assert columns_and_constraints(plain_database) == before
    assert plain_database.value("SELECT count(*) FROM pg_partition_tree('events') WHERE isleaf") == 16
    plain_database.execute(insert)


def columns_and_constraints(database: Database) -> list[tuple[Any, ...]]:
    return database.rows("""
        SELECT attname, atttypid::regtype::text, attnotnull, attcollation::text,
               pg_get_expr(adbin, adrelid), col_description(attrelid, attnum)
        FROM pg_attribute LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
        WHERE attrelid = 'events'::regclass AND attnum > 0
        UNION ALL
        SELECT contype::text, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL
        FROM pg_constraint WHERE conrelid = 'events'::regclass AND contype <> 'n'
        UNION ALL
        SELECT 'index', regexp_replace(pg_get_indexdef(indexrelid), '^.* USING', ''), NULL, NULL, NULL, NULL
        FROM pg_index WHERE indrelid = 'events'::regclass
        ORDER BY 1, 2""")
