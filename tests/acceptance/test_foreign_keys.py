"""A custom table with a foreign key: a row that comes later is waited for, one that never comes is not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

WAIT_S = 6.0
ORDERS = {"KEEPSTREAM_TABLE__NAME": "orders", "KEEPSTREAM_TABLE__COLUMNS": '{"customer": "/customer"}'}
TABLES = """
CREATE TABLE customers (name text PRIMARY KEY);
CREATE TABLE orders (event_id text PRIMARY KEY, customer text REFERENCES customers);
"""


def order(event_id: str, customer: str | None = None) -> bytes:
    return make_value(event_id=event_id, payload={"customer": customer} if customer else {})


def stored(system: System) -> list[str]:
    return [event_id for (event_id,) in system.database.rows("SELECT event_id FROM orders ORDER BY event_id")]


def test_a_row_that_comes_later_is_waited_for_and_one_that_never_comes_is_dead(
    new_system: Callable[..., System],
) -> None:
    system = new_system(2, KEEPSTREAM_WORKER__FOREIGN_KEY_WAIT_S=str(WAIT_S), **ORDERS)
    with system.database.connect() as connection:
        connection.execute(TABLES)
    system.cli("tables", "apply", "--yes")
    system.start_worker()
    system.produce([order("before"), order("late", "ann"), order("later", "ann"), order("after")], partition=0)
    eventually(lambda: stored(system) == ["before"], 30, "what is before it is stored")
    waits_since = time.monotonic()
    system.produce([order("elsewhere")], partition=1)
    eventually(lambda: stored(system) == ["before", "elsewhere"], WAIT_S, "another partition does not wait")
    time.sleep(1)
    assert system.database.totals()["total"] == 2
    system.database.execute("INSERT INTO customers VALUES ('ann')")
    system.settled(5)
    assert time.monotonic() - waits_since < WAIT_S
    assert (system.database.totals()["delivered"], system.dead()) == (5, {})

    system.produce([order("never", "bob"), order("nor", "bob"), order("last")], partition=0)
    system.settled(8)
    messages = {header(dead, "__connect.errors.exception.message") for dead in system.dead().values()}
    assert messages == {
        'foreign key violation (SQLSTATE 23503): constraint "orders_customer_fkey", table "orders"'
    }  # fmt: skip
    assert system.database.totals()["failed"] == 2
    assert stored(system) == ["after", "before", "elsewhere", "last", "late", "later"]
    system.assert_consistent()
