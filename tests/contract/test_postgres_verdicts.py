"""What goes wrong in a real PostgreSQL, and whose fault the store says it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from keepstream.app.embedded.postgres import EmbeddedPostgres
from keepstream.schemas.failure import Failure, RecordError, Step, StepError, SystemicError, TransientError
from keepstream.schemas.outcome import OutcomeCounts
from tests.builders import make_dead_letter, make_event, make_record
from tests.contract.store_fixtures import PostgresTable, postgres_table, settle, settle_by_steps
from tests.real import Database, Postgres, Servers, eventually

pytestmark = pytest.mark.real

PATHS = pytest.mark.parametrize("path", [settle, settle_by_steps])
TRIGGER = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION meddle()
"""


async def fail(kind: type[StepError], table: PostgresTable, path: Any = settle) -> Failure:
    event = make_event(0, event_id="s3cret-id", payload={"x": "s3cret"}, correlation_id="s3cret")
    with pytest.raises(kind) as caught:
        await path(table, 0, 1, event)
    assert "s3cret" not in repr(caught.value.failure) + str(caught.value)
    assert type(caught.value) is kind
    return caught.value.failure


@PATHS
async def test_a_broken_constraint_is_the_records_fault_and_named(real_table: PostgresTable, path: Any) -> None:
    real_table.database.execute("ALTER TABLE events ADD CONSTRAINT no_x CHECK (NOT payload ? 'x')")
    failure = await fail(RecordError, real_table, path)
    assert (failure.reason, failure.sqlstate) == ("check_violation", "23514")
    assert failure.message.startswith(
        'check violation (SQLSTATE 23514): constraint "no_x", table "events'
    )  # or a partition of it
    assert await settle(real_table, 0, 1, make_event(0, payload={})) == OutcomeCounts(delivered=1)


async def test_a_missing_value_is_the_records_fault_and_its_column_is_named(real_table: PostgresTable) -> None:
    real_table.database.execute("ALTER TABLE events ADD COLUMN tenant text NOT NULL")
    failure = await fail(RecordError, real_table)
    assert failure.message.startswith(
        'not null violation (SQLSTATE 23502): column "tenant", table "events'
    )  # or a partition of it


@PATHS
async def test_somebodys_trigger_that_raises_is_the_records_fault(real_table: PostgresTable, path: Any) -> None:
    real_table.database.execute(TRIGGER.format(body="RAISE 'no %%', NEW.payload;"))
    assert (await fail(RecordError, real_table, path)).sqlstate == "P0001"


@PATHS
async def test_a_division_by_zero_of_somebodys_is_the_records_fault(real_table: PostgresTable, path: Any) -> None:
    real_table.database.execute(TRIGGER.format(body="PERFORM 1 / (NEW.source_offset * 0);"))
    failure = await fail(RecordError, real_table, path)
    assert (failure.reason, failure.sqlstate) == ("division_by_zero", "22012")


@pytest.mark.parametrize(
    ("change", "known", "step"),
    [("INSERT", False, Step.STORE), ("UPDATE", False, Step.METRICS), ("UPDATE", True, Step.STORE)],
)
async def test_a_row_that_a_trigger_takes_away_is_told_from_a_race(
    real_table: PostgresTable, change: str, step: Step, *, known: bool
) -> None:
    if known:
        await settle(real_table, 0, 1, make_event(0, event_id="a"))
    real_table.database.execute(
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        f"CREATE TRIGGER nothing BEFORE {change} ON events FOR EACH ROW EXECUTE FUNCTION nothing()"
    )
    begin = int(known)
    event = make_event(begin, event_id="a", payload={"x": 2})
    if change == "INSERT" or known:
        with pytest.raises(TransientError) as seen:
            await settle(real_table, begin, begin + 1, event)
        assert (seen.value.failure.reason, seen.value.failure.record_may_cause) == ("raced", True)
    with pytest.raises(RecordError) as caught:
        await settle_by_steps(real_table, begin, begin + 1, event)
    assert (caught.value.failure.reason, caught.value.failure.step) == ("row_suppressed", step)
    assert real_table.next_offset() == begin


async def test_what_only_a_delivered_row_breaks_is_the_metrics_steps(real_table: PostgresTable) -> None:
    real_table.database.execute("ALTER TABLE events ADD CONSTRAINT no CHECK (status <> 'delivered')")
    assert (await fail(RecordError, real_table, settle_by_steps)).step is Step.METRICS
    assert real_table.rows() == {}


@PATHS
@pytest.mark.parametrize(
    ("ddl", "sqlstate"),
    [
        ("ALTER TABLE events DROP COLUMN metadata", "42703"),
        ("DROP TABLE events", "42P01"),
        ("ALTER TABLE events RENAME TO old_events", "42P01"),
    ],
)
async def test_a_forgotten_migration_is_the_environments_fault(
    real_table: PostgresTable, path: Any, ddl: str, sqlstate: str
) -> None:
    real_table.database.execute(ddl)
    assert (await fail(SystemicError, real_table, path)).sqlstate == sqlstate


async def test_a_store_that_refuses_the_probes_payload_is_healthy(real_table: PostgresTable) -> None:
    real_table.database.execute("ALTER TABLE events ADD CONSTRAINT priced CHECK (payload ->> 'x' IS NOT NULL)")
    assert await real_table.store.healthy()


async def test_without_its_table_a_store_is_not_healthy(real_table: PostgresTable) -> None:
    real_table.database.execute("DROP TABLE events")
    assert not await real_table.store.healthy()


@PATHS
async def test_ddl_under_a_prepared_statement_passes_and_does_no_harm(real_table: PostgresTable, path: Any) -> None:
    await path(real_table, 0, 1, make_event(0))
    real_table.database.execute("ALTER TABLE events ADD COLUMN extra text")
    assert await path(real_table, 1, 2, make_event(1)) == OutcomeCounts(delivered=1)


async def test_a_lock_that_takes_too_long_is_worth_another_try(any_database: Database) -> None:
    async with postgres_table(any_database, lock_timeout_s=0.1) as table:
        await table.open(0, 0)
        with any_database.connect() as other, other.transaction():
            other.execute("LOCK TABLE events")
            assert (await fail(TransientError, table)).reason == "lock_not_available"
            assert not await table.store.healthy()
        assert await settle(table, 0, 1, make_event(0)) == OutcomeCounts(delivered=1)


async def test_a_statement_that_takes_too_long_is_worth_another_try(any_database: Database) -> None:
    any_database.execute(TRIGGER.format(body="PERFORM pg_sleep(30);"))
    async with postgres_table(any_database, statement_timeout_s=0.1) as table:
        await table.open(0, 0)
        assert (await fail(TransientError, table)).reason == "query_canceled"


async def test_a_read_only_server_is_the_environments_fault(direct_database: Database) -> None:
    async with postgres_table(direct_database, pool_size=1) as table:
        await table.open(0, 0)
        async with table.store.pool.connection() as connection:
            await connection.execute("SET default_transaction_read_only = on")
        failure = await fail(SystemicError, table)
        assert (failure.reason, failure.sqlstate) == ("read_only_sql_transaction", "25006")
        assert not await table.store.healthy()


@pytest.mark.parametrize(
    "broken",
    [lambda url: "postgresql://s3cret@127.0.0.1:1/x", lambda url: url.replace("keepstream:", "keepstream:s3cret", 1)],
    ids=["unreachable", "wrong password"],
)
async def test_no_connection_is_the_environments_fault(database: Database, broken: Callable[[str], str]) -> None:
    async with postgres_table(Database(broken(database.url), database.schema), connect_timeout_s=1) as table:
        failure = await fail(SystemicError, table)
        assert (failure.reason, failure.message) == ("database_unreachable", "PostgreSQL cannot be reached")
        assert not await table.store.healthy()


async def test_a_session_ended_in_mid_batch_writes_nothing_and_the_next_try_works(any_database: Database) -> None:
    any_database.execute(TRIGGER.format(body="PERFORM pg_advisory_xact_lock(4711);"))
    async with postgres_table(any_database) as table:
        await table.open(0, 0)
        with any_database.connect() as other:
            other.execute("SELECT pg_advisory_lock(4711)")
            writing = asyncio.create_task(fail(SystemicError, table))
            end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            await asyncio.to_thread(eventually, lambda: other.execute(end).fetchall(), what="the batch waits")
            assert (await writing).sqlstate == "57P01"
        assert table.rows() == {}
        assert await settle(table, 0, 1, make_event(0)) == OutcomeCounts(delivered=1)


async def test_sessions_ended_between_batches_cost_at_most_a_passing_failure(direct_database: Database) -> None:
    async with postgres_table(direct_database, pool_size=1) as table:
        await table.open(0, 0)
        async with table.store.pool.connection() as connection:
            pid = connection.info.backend_pid
        direct_database.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
        with pytest.raises((SystemicError, TransientError)):
            await settle(table, 0, 1, make_event(0))
        assert await settle(table, 0, 1, make_event(0)) == OutcomeCounts(delivered=1)


async def test_sessions_that_were_all_ended_cost_one_attempt_and_not_one_each(direct_database: Database) -> None:
    async with postgres_table(direct_database, pool_size=4) as table:
        await table.open(0, 0)
        connections = [await table.store.pool.getconn() for _ in range(4)]
        pids = [connection.info.backend_pid for connection in connections]
        for connection in connections:
            await table.store.pool.putconn(connection)
        direct_database.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) pid", pids)
        with pytest.raises((SystemicError, TransientError)):
            await settle(table, 0, 1, make_event(0))
        assert await settle(table, 0, 1, make_event(0)) == OutcomeCounts(delivered=1)


async def test_a_server_that_is_killed_is_waited_for_and_found_again(servers: Servers) -> None:
    with EmbeddedPostgres() as server, Postgres(server.url).new_schema() as database:
        async with postgres_table(database, connect_timeout_s=1, pool_size=1) as table:
            await table.open(0, 0)
            await asyncio.to_thread(server.kill)
            with pytest.raises((SystemicError, TransientError)):
                await settle(table, 0, 1, make_event(0))
            assert not await table.store.healthy()
            await fail(SystemicError, table)
            await asyncio.to_thread(server.restart)
            await healthy_again(table)
            dead = make_dead_letter(make_record(None, 1))
            assert await settle(table, 0, 2, make_event(0), dead=[dead]) == OutcomeCounts(delivered=1, dead_lettered=1)


async def healthy_again(table: PostgresTable) -> None:
    for _ in range(20):
        if await table.store.healthy():
            return
    raise AssertionError("not healthy after 20 probes")


async def test_a_probe_leaves_no_row(real_table: PostgresTable) -> None:
    assert await real_table.store.healthy()
    assert real_table.rows() == {}
    assert real_table.totals()["total"] == 0
