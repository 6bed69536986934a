"""What `keepstream tables plan` refuses, compares and applies, on real tables."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from keepstream.app.cli.custom_tables import table_findings
from keepstream.app.config.table import TableSettings
from keepstream.sinks.postgres.tables.plan import ChangedMeanwhileError, apply_plan, make_plan
from tests.contract.custom_tables import LOCK_TIMEOUT_S, Settings, applied, deletion, filled, planned, version
from tests.real import Database, eventually

pytestmark = pytest.mark.real

TABLE = "CREATE TABLE orders (event_id text PRIMARY KEY, amount numeric, note text)"
AMOUNT = {"amount": "/amount"}
ORDERS: Settings = {"name": "orders", "columns": AMOUNT}
TENANTS: Settings = {"name": "orders", "columns": {"tenant": "/tenant"}}
INSERT = """INSERT INTO {}.events (event_id, payload, status, created_at, source_topic, source_partition, source_offset)
            VALUES (%s, '{{"amount": 1}}', 'delivered', now(), 'events', 0, 0)"""

REFUSED: dict[str, tuple[str, Settings, str]] = {
    "no table": ("SELECT 1", ORDERS, "table.name: there is no table orders in the search path; name its schema"),
    "no schema": ("SELECT 1", ORDERS | {"name": "shop.orders"}, "table.name: there is no table shop.orders"),
    "a view": (f"{TABLE}; CREATE VIEW v AS SELECT * FROM orders", ORDERS | {"name": "v"}, ".v is a view; name a table"),
    "our own": ("SELECT 1", ORDERS | {"name": "events"}, ".events is one of keepstream's own tables; name"),
    "a rule": (
        f"{TABLE}; CREATE RULE r AS ON UPDATE TO orders DO ALSO NOTHING", ORDERS, "has a rule for INSERT or UPDATE"
    ),
    "no column": (TABLE, ORDERS | {"columns": {"amoun": "/a"}}, "table.columns.amoun: {}.orders has no such column"),
    "no id": (
        "CREATE TABLE orders (id text UNIQUE, amount int)", ORDERS,
        "{}.orders has no column event_id for the event's id; name the one that takes it: columns.NAME = \"event_id\"",
    ),
    "identity": (
        "CREATE TABLE orders (event_id text PRIMARY KEY, amount int GENERATED ALWAYS AS IDENTITY)", ORDERS,
        "table.columns.amount: {}.orders numbers it itself (identity); leave it out",
    ),
    "serial": (
        "CREATE TABLE orders (event_id text PRIMARY KEY, amount bigserial)", ORDERS,
        "table.columns.amount: {}.orders numbers it itself (serial); leave it out",
    ),
    "generated": (
        "CREATE TABLE orders (event_id text PRIMARY KEY, amount text GENERATED ALWAYS AS (event_id || '!') STORED)",
        ORDERS, "table.columns.amount: {}.orders computes it (generated column); leave it out",
    ),
    "a value that nothing gives": (
        "CREATE TABLE orders (event_id text PRIMARY KEY, amount int, no int NOT NULL)", ORDERS,
        "table.columns.no: {}.orders takes no NULL there and has no default; give it a source",
    ),
    "a type whose errors are those of statements": (
        "CREATE TABLE orders (event_id text PRIMARY KEY, amount tsvector)", ORDERS, "as a bad statement, so that"
    ),
    "no unique index": (
        "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text, amount int)", ORDERS,
        "has event_id, the column of the event's id; CREATE UNIQUE INDEX ON {0}.orders (event_id)",
    ),
    "two unique indexes": (
        "CREATE TABLE orders (id int, event_id text UNIQUE, amount int, UNIQUE (event_id, amount))", ORDERS,
        "the unique indexes orders_event_id_amount_key and orders_event_id_key of {}.orders have the event's id",
    ),
    "a partial index": (
        "CREATE TABLE orders (event_id text, amount int); CREATE UNIQUE INDEX u ON orders (event_id) WHERE amount > 0",
        ORDERS, "table.key: {}.orders: the unique index u is partial, so it does not keep all rows apart",
    ),
    "an expression": (
        "CREATE TABLE orders (event_id text, amount int); CREATE UNIQUE INDEX u ON orders (event_id, abs(amount))",
        ORDERS, "table.key: {}.orders: the unique index u is on an expression; make one on columns alone",
    ),
    "a deferrable key": (
        "CREATE TABLE orders (event_id text PRIMARY KEY DEFERRABLE, amount int)", ORDERS,
        "table.key: {}.orders: the constraint orders_pkey is deferrable, which ON CONFLICT does not take",
    ),
    "a named key without index": (
        TABLE, ORDERS | {"key": ["event_id", "amount"]},
        "table.key: {0}.orders has no unique index on (amount, event_id); CREATE UNIQUE INDEX ON {0}.orders",
    ),
    "a named key that is deferrable": (
        "CREATE TABLE orders (event_id text, amount int, UNIQUE (event_id, amount) DEFERRABLE)",
        ORDERS | {"key": ["event_id", "amount"]}, "is deferrable, which ON CONFLICT does not take",
    ),
    "a key's column that may be NULL": (
        "CREATE TABLE orders (event_id text, tenant text, UNIQUE (event_id, tenant))", TENANTS,
        "table.key: tenant of {}.orders may be NULL, and rows with NULL never conflict; make it NOT NULL",
    ),
    "a key's column without source": (
        "CREATE TABLE orders (event_id text, amount int, month date DEFAULT now(), PRIMARY KEY (event_id, month))",
        ORDERS,
        "table.key: month of {}.orders has no source, so each version of an event would be another row",
    ),
    "a key's column with a default that changes": (
        "CREATE TABLE orders (event_id text, tenant text DEFAULT gen_random_uuid(), PRIMARY KEY (event_id, tenant))",
        TENANTS, "table.key: tenant of {}.orders has a default that changes (gen_random_uuid()), so an event without",
    ),
    "base64 of text": (
        TABLE, {"name": "orders", "columns": {"note": "/note"}, "base64": ["note"]},
        "table.base64: note of {}.orders is text; only bytea is read as base64",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ddl", "settings", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_could_not_be_filled_is_refused_with_a_sentence(
    any_database: Database, ddl: str, settings: Settings, sentence: str
) -> None:
    any_database.execute(ddl)
    (said,) = planned(any_database, settings).problems
    assert sentence.format(any_database.schema) in said


def test_all_reasons_are_given_at_once(any_database: Database) -> None:
    any_database.execute("CREATE TABLE orders (id serial, amount int NOT NULL)")
    columns = {"id": "/id", "nothing": "/nothing"}
    said = planned(any_database, {"name": "orders", "columns": columns}).problems
    assert [one.split(": ")[0] for one in said] == [
        "table.columns", "table.columns.nothing", "table.columns.id", "table.columns.amount",
    ]  # fmt: skip


def test_a_plan_says_what_differs_and_is_empty_once_it_is_applied(any_database: Database) -> None:
    any_database.execute(TABLE)
    plan = planned(any_database, ORDERS)
    assert [one.splitlines()[0] for one in plan.differences] == [
        "the function keepstream_fill_table does not exist",
        "the trigger keepstream_fill_table_inserted on events does not exist, or is disabled",
        "the trigger keepstream_fill_table_updated on events does not exist, or is disabled",
    ]
    assert applied(any_database, ORDERS).script == plan.script
    assert applied(any_database, ORDERS).script == ""
    any_database.execute("ALTER TABLE orders ALTER amount TYPE numeric(10,2)")
    (difference,) = planned(any_database, ORDERS).differences
    assert difference.splitlines() == [
        "the function keepstream_fill_table fills it otherwise than settings and table say:",
        "  -            amount numeric",
        "  +            amount numeric(10,2)",
    ]


@pytest.mark.parametrize(
    "change",
    [
        "DROP TRIGGER keepstream_fill_table_inserted ON events",
        "ALTER TABLE events DISABLE TRIGGER keepstream_fill_table_updated",
        "CREATE OR REPLACE FUNCTION keepstream_fill_table() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "ALTER TABLE orders ALTER amount SET DEFAULT 1",
        "DROP FUNCTION keepstream_fill_table CASCADE",
    ],
)
async def test_a_change_of_either_is_seen_by_plan_and_doctor_and_mended(any_database: Database, change: str) -> None:
    async with filled(any_database, TABLE, ORDERS) as table:
        assert doctor(any_database, ORDERS) == [
            ("ok", f"{any_database.schema}.orders is filled as the settings say", "")
        ]
        any_database.execute(change)
        assert {state for state, _, _ in doctor(any_database, ORDERS)} == {"fail"}
        applied(any_database, ORDERS)
        assert planned(any_database, ORDERS).statements == []
        await table.take(version("a", {"amount": 1}))
        await table.take(version("a", {"amount": 2}, 25))
        assert table.rows("SELECT amount::int FROM orders") == [(2,)]


def doctor(database: Database, settings: Settings | None) -> list[tuple[str, str, str]]:
    with database.connect() as connection:
        return list(table_findings(connection, TableSettings(**(settings or {}))))


def test_doctor_says_what_is_wrong_and_what_to_run(any_database: Database) -> None:
    assert doctor(any_database, None) == []
    run = "run `keepstream tables plan`, then `keepstream tables apply`"
    any_database.execute(TABLE)
    state, seen, fix = doctor(any_database, ORDERS)[0]
    assert (state, fix) == ("fail", run)
    assert seen == f"{any_database.schema}.orders: the function keepstream_fill_table does not exist"
    applied(any_database, ORDERS)
    any_database.execute("ALTER TABLE orders DROP COLUMN amount")
    ((state, seen, fix),) = doctor(any_database, ORDERS)
    assert (state, "has no such column" in seen, fix) == (
        "fail",
        True,
        "correct the settings or the table: docs/tables.md",
    )
    ((state, seen, fix),) = doctor(any_database, None)
    assert (state, fix) == ("warn", run)


async def test_without_a_table_in_the_settings_a_plan_removes_what_was_made(any_database: Database) -> None:
    assert planned(any_database, None).statements == ()
    async with filled(any_database, TABLE, ORDERS) as table:
        plan = applied(any_database, None)
        assert plan.script == f"DROP FUNCTION {any_database.schema}.keepstream_fill_table() CASCADE;\n"
        await table.take(version("a", {"amount": 1}))
        assert table.rows("SELECT * FROM orders") == []
        assert table.rows("SELECT FROM pg_trigger WHERE tgrelid = 'events'::regclass AND NOT tgisinternal") == []


async def test_the_triggers_of_map_sql_are_replaced_in_the_same_transaction(any_database: Database) -> None:
    former = """
        CREATE FUNCTION map_orders() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''twice''; END';
        CREATE TRIGGER map_orders_inserted AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION map_orders();
        CREATE TRIGGER map_orders_updated AFTER UPDATE ON events FOR EACH STATEMENT EXECUTE FUNCTION map_orders()"""
    async with filled(any_database, f"{TABLE}; {former}", ORDERS) as table:
        await table.take(version("a", {"amount": 1}))
        assert table.rows("SELECT event_id FROM orders") == [("a",)]


def test_a_plan_that_is_not_the_one_that_was_shown_is_not_applied(any_database: Database) -> None:
    any_database.execute(TABLE)
    shown, definition = planned(any_database, ORDERS), TableSettings(**ORDERS).definition()
    any_database.execute("ALTER TABLE orders ALTER amount SET DEFAULT 1")
    with any_database.connect() as connection:
        with pytest.raises(ChangedMeanwhileError):
            apply_plan(connection, definition, shown, LOCK_TIMEOUT_S)
        assert len(make_plan(connection, definition).statements) == 3


def test_the_lock_is_waited_for_as_long_as_the_settings_say(any_database: Database) -> None:
    any_database.execute(TABLE)
    with any_database.connect() as writer, writer.transaction():
        writer.execute(INSERT.format(any_database.schema).encode(), ["a"])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            applied(any_database, ORDERS, lock_timeout_s=0.2)
    assert len(applied(any_database, ORDERS).statements) == 3


@contextmanager
def writers(database: Database, count: int = 2) -> Iterator[list[str]]:
    """Insert an event after another, in transactions of their own; yield the ids that are committed."""
    done, committed = threading.Event(), list[str]()

    def write(number: int) -> None:
        with database.connect() as connection:
            for event in range(1_000_000):
                if done.is_set():
                    return
                connection.execute(INSERT.format(database.schema).encode(), [f"{number}-{event}"])
                committed.append(f"{number}-{event}")

    threads = [threading.Thread(target=write, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: len(committed) > 10, 20, "events are written")
        yield committed
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_it_is_applied_and_removed_while_events_are_written(any_database: Database) -> None:
    any_database.execute(TABLE)
    with writers(any_database) as committed:
        for _ in range(3):
            applied(any_database, ORDERS)
            behind = len(committed)
            eventually(lambda: len(committed) > behind + 10, 20, "writing goes on")  # noqa: B023 - called at once
            applied(any_database, None)
        applied(any_database, ORDERS)
        known = set(committed)
        eventually(lambda: len(committed) > len(known) + 10, 20, "events are written with the trigger in place")
    rows = {event_id for (event_id,) in any_database.rows("SELECT event_id FROM orders")}
    assert set(committed) - known - rows <= {f"{number}-{last_of(known, number) + 1}" for number in range(2)}


def last_of(ids: set[str], number: int) -> int:
    return max(int(one.partition("-")[2]) for one in ids if one.startswith(f"{number}-"))


async def test_it_depends_on_no_search_path(any_database: Database) -> None:
    """Names of the table, of its types and defaults are found, whatever the path of the session that writes."""
    ddl = """CREATE TYPE mood AS ENUM ('sad', 'ok');
             CREATE FUNCTION usual() RETURNS text LANGUAGE sql AS 'SELECT ''1''';
             CREATE TABLE orders (event_id text PRIMARY KEY, moods mood[], mood mood DEFAULT 'sad',
                                  note text DEFAULT usual())"""
    columns = {"moods": "/moods", "mood": "/mood", "note": "/note"}
    async with filled(any_database, ddl, ORDERS | {"columns": columns}) as table:
        with psycopg.connect(any_database.url, autocommit=True, options="-c search_path=") as other:
            other.execute(INSERT.format(any_database.schema).encode(), ["a"])
            other.execute(f"UPDATE {any_database.schema}.events SET payload = %s", ['{"moods": ["ok"]}'])
        assert table.rows("SELECT event_id, moods::text, mood::text, note FROM orders") == [("a", "{ok}", "sad", "1")]


async def test_a_table_in_another_schema_is_filled_and_its_rights_are_named(any_database: Database) -> None:
    schema = f"{any_database.schema}_Shop"
    settings = ORDERS | {"name": f"{schema}.orders"}
    ddl = f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}".orders (event_id text PRIMARY KEY, amount int, id serial)'
    with any_database.connect() as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = 'keepstream_worker'").fetchall():
            connection.execute("CREATE ROLE keepstream_worker")
    try:
        async with filled(any_database, ddl, settings) as table:
            await table.take(version("a", {"amount": 1}))
            assert table.rows(f'SELECT event_id, amount FROM "{schema}".orders') == [("a", 1)]
            assert list(planned(any_database, settings).notes) == [
                "the worker lacks a right: GRANT " + what + " TO keepstream_worker" for what in (
                    f'SELECT, INSERT, UPDATE, DELETE ON "{schema}".orders',
                    f'USAGE ON SEQUENCE "{schema}".orders_id_seq', f'USAGE ON SCHEMA "{schema}"',
                )
            ]  # fmt: skip
    finally:
        any_database.execute(f'DROP SCHEMA "{schema}" CASCADE')


async def test_a_probe_leaves_no_row_and_rows_of_single_steps_are_written(any_database: Database) -> None:
    strict = "CREATE TABLE orders (event_id text PRIMARY KEY, amount int NOT NULL)"
    async with filled(any_database, strict, ORDERS) as table:
        assert await table.events.store.healthy()
        assert await table.process(version("a", {"amount": 1}), version("b", {"amount": None})) == {
            1: "not_null_violation"
        }
        assert await table.process(version("a", {}, 25)) == {0: "not_null_violation"}
        assert table.rows("SELECT * FROM orders") == [("a", 1)]


async def test_two_events_that_are_one_row_are_taken_one_after_the_other(any_database: Database) -> None:
    """As ids of type uuid are that differ in their case: in one statement PostgreSQL refuses them (SQLSTATE 21000)."""
    ids = "aabbccdd-0000-4000-8000-000000000000", "AABBCCDD-0000-4000-8000-000000000000"
    async with filled(any_database, "CREATE TABLE orders (event_id uuid PRIMARY KEY, amount int)", ORDERS) as table:
        await table.take(*(version(event_id, {"amount": number}) for number, event_id in enumerate(ids)))
        assert table.rows("SELECT event_id::text, amount FROM orders") == [(ids[0], 1)]


async def test_a_row_of_a_pruned_event_is_moved_where_an_index_finds_it(any_database: Database) -> None:
    ddl = "CREATE TABLE orders (tenant text, event_id text, at int, PRIMARY KEY (tenant, event_id))"
    async with filled(any_database, ddl, TENANTS) as table:
        (note,) = notes(any_database, TENANTS)
        assert f"CREATE INDEX ON {any_database.schema}.orders (event_id)" in note
        any_database.execute("CREATE INDEX ON orders (event_id)")
        applied(any_database, TENANTS)
        assert notes(any_database, TENANTS) == []
        await table.take(version("a", {"tenant": "ann"}))
        any_database.execute("UPDATE orders SET at = 7; DELETE FROM events")
        await table.take(version("a", {"tenant": "bob"}))
        assert table.rows("SELECT * FROM orders") == [("bob", "a", 7)]


async def test_events_of_before_are_filled_in_by_an_update(any_database: Database) -> None:
    async with filled(any_database, TABLE, ORDERS) as table:
        applied(any_database, None)
        await table.take(version("a", {"amount": 1}), version("b", {"amount": 2}), version("c", {"amount": 3}))
        await table.take(deletion("b"))
        applied(any_database, ORDERS)
        any_database.execute("UPDATE events SET status = status WHERE event_id < 'c'")
        assert table.rows("SELECT event_id, amount::int FROM orders ORDER BY 1") == [("a", 1)]


def test_a_table_with_row_level_security_is_noted(any_database: Database) -> None:
    any_database.execute(f"{TABLE}; ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    assert ["row-level security" in note for note in notes(any_database, ORDERS)] == [True]


def notes(database: Database, settings: Settings) -> list[str]:
    """Return the notes without those on the rights of a role that another test has made."""
    return [note for note in planned(database, settings).notes if "lacks a right" not in note]
