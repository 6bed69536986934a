"""PgBouncer in front of PostgreSQL: nothing is expected of a session, and nothing is left in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.schemas.failure import RecordError
from keepstream.schemas.outcome import OutcomeCounts
from keepstream.schemas.replay import ReplayOptions
from keepstream.sinks.postgres.events import EventSearch
from keepstream.sinks.postgres.migrate import migrate, migrations, pending
from keepstream.sinks.postgres.replays import PostgresReplayLedger, ReplayBusyError
from tests.builders import make_event
from tests.contract.store_fixtures import by_steps, postgres_table, settle
from tests.pgbouncer import MODES, PgBouncer, pgbouncer
from tests.real import Database, Servers

pytestmark = pytest.mark.real

SHOW = "SELECT current_setting(name) FROM unnest(%s::text[]) AS n(name)"
LEFT_BEHIND = {
    "search_path": "pg_catalog", "statement_timeout": "1min", "enable_seqscan": "on", "plan_cache_mode": "auto",
    "default_transaction_isolation": "serializable", "synchronous_commit": "off", "jit": "on",
}  # fmt: skip
"""What another client of the pooler has set in the only session of the server."""
SPOIL = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS n(name, value)"


@pytest.fixture(params=MODES)
def pooler(servers: Servers, request: pytest.FixtureRequest) -> Iterator[PgBouncer]:
    with pgbouncer(servers.postgres_url, request.param) as started:
        yield started


@pytest.fixture
def one_session(servers: Servers) -> Iterator[PgBouncer]:
    """A pooler whose clients share a single session, transaction by transaction."""
    with pgbouncer(servers.postgres_url, "transaction", default_pool_size="1") as started:
        yield started


def services(url: str, schema: str | None) -> Services:
    given = PostgresSettings(url=SecretStr(url), schema_name=schema)
    return Services(Settings(_env_file=None, postgres=given))


async def test_a_store_behind_a_pooler_does_what_it_does_without(pooler: PgBouncer, database: Database) -> None:
    async with postgres_table(database, url=pooler.url) as table:
        await table.open(0, 0)
        assert await settle(table, 0, 2, make_event(0), make_event(1, event_id="b")) == OutcomeCounts(delivered=2)
        assert await by_steps(table, 2, 3, make_event(2, event_id="c")) == OutcomeCounts(delivered=1)
        database.execute("ALTER TABLE events ADD CHECK (event_id <> 'd')")
        with pytest.raises(RecordError, match="check violation"):
            await settle(table, 3, 4, make_event(3, event_id="d"))
        assert await table.store.healthy()
        assert (table.next_offset(), table.totals()["delivered"]) == (3, 3)


def test_the_tables_are_made_and_found_through_a_pooler(pooler: PgBouncer, database: Database) -> None:
    schema = f"{database.schema}_new"
    with services(pooler.url, schema).postgres() as connection:
        assert migrate(connection, schema) == migrations()
        assert pending(connection) == []
    database.execute(f"DROP SCHEMA {schema} CASCADE")


async def test_no_statement_inherits_what_another_client_left_in_the_session(
    one_session: PgBouncer, database: Database
) -> None:
    with psycopg.connect(one_session.url, autocommit=True, prepare_threshold=None) as neighbour:
        neighbour.execute(SPOIL, [[*LEFT_BEHIND], [*LEFT_BEHIND.values()]])
        async with postgres_table(database, url=one_session.url) as table:
            await table.open(0, 0)
            assert await settle(table, 0, 1, make_event(0)) == OutcomeCounts(delivered=1)
            assert await by_steps(table, 1, 2, make_event(1, event_id="b")) == OutcomeCounts(delivered=1)
            async with table.store.pool.connection() as connection:
                shown = await (await connection.execute(SHOW, [[*LEFT_BEHIND, "transaction_isolation"]])).fetchall()
        worker = [database.schema, "8s", "off", "force_generic_plan", "read committed", "on", "on", "read committed"]
        assert [value for (value,) in shown] == worker
        with services(one_session.url, database.schema).postgres() as connection:
            assert (EventSearch(connection).event("b") or {})["status"] == "delivered"
            assert pending(connection) == []
        with psycopg.connect(one_session.url, autocommit=True, prepare_threshold=None) as other:
            other.execute("SET statement_timeout = 0")
            assert [value for (value,) in other.execute(SHOW, [[*LEFT_BEHIND]])] == [
                *{**LEFT_BEHIND, "statement_timeout": "0"}.values()
            ]
            assert other.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


@pytest.mark.parametrize("place", ["url", "environment", "role"])
def test_a_search_path_without_a_schema_name_holds_through_a_pooler(
    servers: Servers, database: Database, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """That of the URL or of PGOPTIONS although the pooler drops both, else the role's, whatever the session has."""
    settings = {"ignore_startup_parameters": "options", "default_pool_size": "1"}
    with pgbouncer(servers.postgres_url, "transaction", **settings) as pooler:
        url = pooler.url
        if place == "url":
            url = make_conninfo(url, options=f"-c search_path={database.schema}")
        elif place == "environment":
            monkeypatch.setenv("PGOPTIONS", f"-c lock_timeout=1s -c search_path={database.schema}")
        with psycopg.connect(pooler.url, autocommit=True, options="", prepare_threshold=None) as neighbour:
            neighbour.execute("SET search_path = pg_catalog")
            with services(url, None).postgres() as connection:
                tables = {"role": "public"}.get(place, database.schema)
                path = connection.execute("SELECT current_setting('search_path')").fetchall()[0][0]
                assert tables in path
                assert len(pending(connection)) == 0 or place == "role"


@pytest.mark.parametrize(("how", "parameter"), [("url", "options"), ("PGGEQO", "geqo")])
def test_a_parameter_that_a_pooler_refuses_is_named_with_what_to_do(
    pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch, how: str, parameter: str
) -> None:
    url = make_conninfo(pooler.url, options="-c work_mem=8MB") if how == "url" else pooler.url
    if how != "url":
        monkeypatch.setenv(how, "off")
    with pytest.raises(KeepstreamError) as refused, services(url, None).postgres():
        pass
    assert f"the pooler there refuses the startup parameter {parameter}" in refused.value.message
    assert "ignore_startup_parameters" in refused.value.hint


def test_one_replay_of_a_topic_runs_at_a_time_and_stops_when_its_lock_is_lost(
    pooler: PgBouncer, database: Database
) -> None:
    behind = services(pooler.url, database.schema)
    with (
        behind.postgres() as one, behind.postgres() as its_holder,
        behind.postgres() as two, behind.postgres() as holder,
        closing(PostgresReplayLedger(one, "event-dlq", its_holder)) as ledger,
        closing(PostgresReplayLedger(two, "event-dlq", holder)) as late,
    ):  # fmt: skip
        ledger.lock()
        run = ledger.begin("{}", "me", ReplayOptions(), {0: 9})
        with pytest.raises(ReplayBusyError):
            late.lock()
        ledger.plan(run, ["events-0-1"], {})
        ledger.unlock()
        late.lock()
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        with pytest.raises(psycopg.OperationalError):
            late.plan(run, ["events-0-2"], {})
        ledger.lock()
    assert database.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
