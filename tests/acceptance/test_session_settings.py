"""What a session would inherit from the environment, the URL, the role or the database decides nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from keepstream.app.config.postgres import PostgresSettings
from keepstream.app.config.settings import Settings
from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.sinks.postgres.connection import ConnectionPolicy, open_pool
from keepstream.sinks.postgres.migrate import migrate, pending
from tests.acceptance.conftest import System
from tests.real import Database, Servers, eventually

pytestmark = pytest.mark.real

SHOW = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS n(name)"
TEXT = "Zoë pays 10 € 😀"
HOSTILE = {
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Tokyo",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "idle_session_timeout": "5s",
    "lock_timeout": "1s",
    "statement_timeout": "600000",
    "search_path": "pg_catalog",
}
PINNED = {
    "client_encoding": "UTF8",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "idle_session_timeout": "0",
}
WORKERS_OWN = {"lock_timeout": "4s", "statement_timeout": "8s"}


@contextmanager
def new_database(url: str, encoding: str = "UTF8") -> Iterator[str]:
    """Create a database of its own and yield its URL."""
    name = f"db_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as admin:
        create = f"CREATE DATABASE {{}} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        admin.execute(sql.SQL(create).format(sql.Identifier(name)))
        try:
            yield url.rpartition("/")[0] + "/" + name
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def hostile(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A migrated schema in a database whose defaults, and whose clients' environment, are all another."""
    with new_database(servers.postgres_url) as url:
        database = Database(url, "mine")
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection, database.schema)
            name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
            for setting, value in HOSTILE.items():
                given = sql.Identifier(setting), sql.SQL(value if setting == "search_path" else f"'{value}'")
                connection.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, *given))
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        monkeypatch.setenv("PGOPTIONS", "-c datestyle=German")
        yield database


def shown(connection: psycopg.Connection[tuple[Any, ...]], names: Iterable[str]) -> dict[str, str]:
    return dict(connection.execute(SHOW, [[*names]]).fetchall())


def test_the_sessions_of_commands_are_pinned(hostile: Database) -> None:
    given = PostgresSettings(url=hostile.url, schema_name=hostile.schema)
    with Services(Settings(postgres=given)).postgres() as connection:
        assert shown(connection, PINNED) == PINNED
        assert connection.execute("SELECT %s, count(*) FROM events", [TEXT]).fetchone() == (TEXT, 0)


async def test_the_sessions_of_the_pool_are_pinned(hostile: Database) -> None:
    pool = await open_pool(ConnectionPolicy(hostile.url, schema=hostile.schema))
    async with pool.connection() as connection:
        wanted = PINNED | WORKERS_OWN
        assert dict(await (await connection.execute(SHOW, [[*wanted]])).fetchall()) == wanted
    await pool.close()


def test_text_is_stored_as_it_was_sent_whatever_the_session_would_inherit(
    hostile: Database, new_system: Callable[..., System]
) -> None:
    system = new_system()
    system.database = hostile
    system.start_worker()
    system.produce([json.dumps({"event_id": TEXT, "payload": {"n": TEXT}}, ensure_ascii=False).encode()])
    system.settled(1)
    query = "SELECT convert_to(event_id, 'UTF8'), convert_to(payload ->> 'n', 'UTF8') FROM events"
    assert hostile.rows(query) == [(TEXT.encode(), TEXT.encode())]


@pytest.mark.parametrize("place", ["url", "environment"])
def test_options_of_the_url_and_of_the_environment_stay_in_effect(
    database: Database, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The search path is theirs where no schema is named."""
    options, url = f"-c search_path={database.schema}", database.url
    if place == "url":
        url = make_conninfo(url, options=options)
    else:
        monkeypatch.setenv("PGOPTIONS", options)
    with Services(Settings(postgres=PostgresSettings(url=url))).postgres() as connection:
        assert pending(connection) == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused_with_its_name(servers: Servers, system: System, encoding: str) -> None:
    with new_database(servers.postgres_url, encoding) as url:
        sentence = f"is encoded in {encoding}, and events are stored as UTF-8 only"
        for command in (("db", "migrate"), ("doctor", "--json")):
            done = system.cli(*command, exit_code=1, KEEPSTREAM_POSTGRES__URL=url)
            assert sentence in done.stdout + done.stderr
        worker = system.start_worker(KEEPSTREAM_POSTGRES__URL=url)
        eventually(lambda: worker.process.exit_code is not None, 30, "the worker has ended")
        assert worker.process.exit_code == 70
        assert [line["event"] for line in worker.log() if sentence in line["event"]] != []


def test_what_postgres_refuses_in_a_session_is_not_an_outage(database: Database) -> None:
    given = PostgresSettings(url=database.url, schema_name=database.schema)
    with (
        pytest.raises(KeepstreamError, match="PostgreSQL refuses: program_limit_exceeded"),
        Services(Settings(postgres=given)).postgres() as connection,
    ):
        connection.execute("""SELECT ('["' || repeat('x', 300000000) || '"]')::jsonb""")
