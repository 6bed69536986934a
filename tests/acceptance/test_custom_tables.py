"""`keepstream tables` and a worker: what is shown, applied, refused and filled."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

TABLE = """
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text NOT NULL UNIQUE,
                     "orderNo" int NOT NULL, state text NOT NULL DEFAULT 'new')"""
ORDERS = {
    "KEEPSTREAM_TABLE__NAME": "orders",
    "KEEPSTREAM_TABLE__COLUMNS": json.dumps({"orderNo": "/order/no", "state": "/state"}),
}


def order(event_id: str, no: object, **changes: object) -> bytes:
    return make_value(event_id=event_id, payload={"order": {"no": no}, **changes})


def plan(system: System, exit_code: int, **environment: str) -> dict[str, object]:
    (line,) = system.cli("tables", "plan", "--json", exit_code=exit_code, **environment).stdout.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def test_a_worker_fills_the_table_of_the_settings_once_it_is_applied(new_system: Callable[..., System]) -> None:
    system = new_system(**ORDERS)
    system.database.execute(TABLE)
    worker = system.start_worker()
    system.produce([order("a", 1, state="paid"), order("b", "x"), order("c", "3")])
    eventually(lambda: "no trigger fills the table orders" in worker.get("/readyz")[1], 30, "it waits for the trigger")

    shown = system.cli("tables", "plan", exit_code=1)
    place = f"{system.database.schema}.orders"
    assert f"-- {system.topic} -> {place}: the function keepstream_fill_table does not exist\n" in shown.stdout
    assert f"INSERT INTO {place} AS t (" in shown.stdout
    assert "run `keepstream tables apply`" in shown.stderr
    refused = system.cli("tables", "apply", exit_code=5).stderr
    assert f"INSERT INTO {place} AS t (" in refused
    applied = json.loads(system.cli("tables", "apply", "--yes", "--json").stdout)
    assert applied == {"topic": system.topic, "table": place, "state": "applied"}

    system.settled(3)
    rows = system.database.rows('SELECT event_id, "orderNo", state FROM orders ORDER BY event_id')
    assert rows == [("a", 1, "paid"), ("c", 3, "new")]
    (dead,) = system.dead().values()
    assert header(dead, "keepstream.dlq.reason") == "invalid_text_representation"
    system.assert_consistent()
    assert plan(system, 0)["state"] == "up_to_date"
    assert "ok    table     " + place in system.cli("doctor").stdout


def test_what_differs_or_cannot_be_filled_ends_with_one_and_says_what_to_do(new_system: Callable[..., System]) -> None:
    system = new_system()
    assert (plan(system, 0)["state"], plan(system, 1, **ORDERS)["state"]) == ("none", "refused")
    assert "there is no table orders" in system.cli("tables", "apply", "--yes", exit_code=1, **ORDERS).stderr
    system.database.execute(TABLE)
    system.cli("tables", "apply", "--yes", exit_code=0, **ORDERS)
    columns = json.dumps({"orderNo": "/order/no", "id": "/id"})
    said = system.cli("tables", "plan", exit_code=1, **(ORDERS | {"KEEPSTREAM_TABLE__COLUMNS": columns}))
    assert (
        f"table.columns.id: {system.database.schema}.orders numbers it itself (identity); leave it out" in said.stderr
    )
    failed = system.cli("doctor", exit_code=1, **(ORDERS | {"KEEPSTREAM_TABLE__COLUMNS": '{"orderNo": "/no"}'})).stdout
    assert "otherwise than settings and table say -> run `keepstream tables plan`" in failed
    differs = plan(system, 1)
    assert (differs["table"], differs["state"], differs["sql"]) == (
        None, "differs", f"DROP FUNCTION {system.database.schema}.keepstream_fill_table() CASCADE;\n",
    )  # fmt: skip
