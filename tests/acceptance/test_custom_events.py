"""docs/own-events.md, word for word: another event shape, steps of one's own and a table of one's own."""

from __future__ import annotations

import configparser
import gzip
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.real import eventually

pytestmark = pytest.mark.real

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs/own-events.md").read_text(encoding="utf-8")
SHOP = {"shop": "berlin", "session": "s-1"}


def block(language: str, number: int = 0) -> str:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found[number]


def order(number: int, **changes: Any) -> bytes:
    fields = {"order_no": str(number), "amount": 12.5, "placed_at": "2026-11-24T10:00:00Z", "card": "4111111111111111"}
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not ...}).encode()


def install(site: Path) -> None:
    """Put the package where pip would: its module, and the entry points that its metadata name."""
    project = tomllib.loads(block("toml"))["project"]
    (site / "shop_events").mkdir(parents=True)
    (site / "shop_events/__init__.py").touch()
    (site / "shop_events/orders.py").write_text(block("python"))
    about = site / f"shop_events-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = configparser.ConfigParser()
    points.read_dict(project["entry-points"])
    with (about / "entry_points.txt").open("w") as file:
        points.write(file)


def documented_settings() -> dict[str, str]:
    """Let a shell read the exports of the page, and read its table."""
    exports = "".join(line + "\n" for line in block("sh").splitlines() if line.startswith("export"))
    shown = subprocess.run(
        ["/bin/sh", "-c", exports + "env"], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
    )
    pairs = (line.partition("=") for line in shown.stdout.splitlines())
    table = tomllib.loads(block("toml", 2))["keepstream"]["table"]
    return {name: value for name, _, value in pairs if name.startswith("KEEPSTREAM_")} | {
        "KEEPSTREAM_TABLE__NAME": table["name"], "KEEPSTREAM_TABLE__COLUMNS": json.dumps(table["columns"]),
    }  # fmt: skip


def make_table(system: System) -> None:
    with system.database.connect() as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'keepstream_worker'").fetchone():
            connection.execute("CREATE ROLE keepstream_worker")
        connection.execute(block("sql").encode())
    for _ in range(2):  # a second time does no harm
        system.cli("tables", "apply", "--yes")


@pytest.fixture
def shop(new_system: Callable[..., System], tmp_path: Path) -> System:
    """A system whose commands and workers have the package of the page."""
    install(tmp_path / "site")
    system = new_system(PYTHONPATH=str(tmp_path / "site"), **documented_settings())
    make_table(system)
    return system


def produce(system: System, *records: tuple[bytes, dict[str, str]]) -> None:
    producer = Producer({"bootstrap.servers": system.kafka.bootstrap_servers})
    for value, headers in records:
        producer.produce(system.topic, value, headers=dict(headers))
    assert producer.flush(30) == 0


def reasons(system: System) -> dict[str, str]:
    """Return the reason of each dead letter, by what died."""
    return {str(letter.value): header(letter, "keepstream.dlq.reason") or "" for letter in system.dead().values()}


def test_the_package_of_the_page_runs(shop: System) -> None:
    refused = {
        order(2, amount=...): ("missing_field", SHOP),
        order(3): ("unknown_shop", {"shop": "atlantis"}),
        order(4, amount=-1): ("check_violation", SHOP),
        order(5, card="4" * 16, order_no="x"): ("invalid_field", SHOP),
        order(6, order_no="9" * 300): ("invalid_field", SHOP),  # the event_id would be too long for ours
    }
    exact = "12345678901234567890.10"  # more digits than a float has
    good = [
        order(1),
        order(7).replace(b"12.5", exact.encode()),
        order(1),
        order(1, amount=13, placed_at="2026-11-25T10:00:00Z"),
    ]
    produce(shop, *((value, headers) for value, (_, headers) in refused.items()), *((value, SHOP) for value in good))
    shop.start_worker()
    shop.settled(len(refused) + len(good))
    assert reasons(shop) == {str(value): reason for value, (reason, _) in refused.items()}
    totals = shop.database.totals()
    assert (totals["delivered"], totals["duplicate"]) == (2, 2)
    seen = shop.database.rows("SELECT event_id, payload ->> 'card', correlation_id FROM events ORDER BY event_id")
    assert [*map(tuple, seen)] == [("order-1", "1111", "s-1"), ("order-7", "1111", "s-1")]
    mapped = shop.database.rows(
        "SELECT order_no, amount::text, placed_at, card, seen_at IS NULL FROM orders ORDER BY 1"
    )
    newer, older = (datetime(2026, 11, day, 10, tzinfo=UTC) for day in (25, 24))
    assert [*map(tuple, mapped)] == [(1, "13", newer, "1111", False), (7, exact, older, "1111", False)]


def test_the_audit_and_the_command_line_read_the_same_contract(shop: System) -> None:
    source = shop.folder / "orders.jsonl"
    source.write_bytes(order(1) + b"\n" + order(2, amount=...) + b"\n")
    checked = shop.cli("events", "validate", str(source), "--json", exit_code=1, KEEPSTREAM_STEPS="[]")
    assert [json.loads(line)["reason"] for line in checked.stdout.splitlines()] == ["missing_field"]
    produce(shop, (order(1), SHOP), (order(2, amount=...), SHOP), (order(1), SHOP))  # no row bears the repeat's offset
    shop.start_worker()
    shop.settled(3)
    shop.cli("audit", "--deep")
    listed = shop.cli("dlq", "replay", "--include-resolved", "--dry-run", "--json")
    assert "missing_field" in listed.stdout
    # Read as an event of ours, the repeat would be a record that should have died.
    shop.cli(
        "audit", "--deep", exit_code=1, KEEPSTREAM_CONTRACT="keepstream.schemas.event:Event", KEEPSTREAM_STEPS="[]"
    )


def test_what_the_table_refused_is_replayed_once_it_takes_it(shop: System) -> None:
    produce(shop, (order(1, amount=-1), SHOP))
    shop.start_worker()
    shop.settled(1)
    with shop.database.connect() as connection:
        connection.execute("ALTER TABLE orders DROP CONSTRAINT orders_amount_check")
    shop.cli("dlq", "replay", "--include-resolved", "--yes", "--wait")
    eventually(lambda: shop.database.value("SELECT amount::int FROM orders") == -1, 30, "it is mapped")
    assert shop.database.totals()["delivered"] == 1


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("CONTRACT", "shop_events.orders:Nothing", "has no attribute 'Nothing'"),
        ("CONTRACT", "nowhere:Order", "No module named 'nowhere'"),
        ("CONTRACT", "shop_events.orders:mask_card", "no subclass"),
        ("STEPS", '["nothing"]', "0 packages have an entry point keepstream.steps:nothing"),
    ],
)
def test_what_cannot_be_found_ends_the_worker_with_two(shop: System, setting: str, value: str, why: str) -> None:
    said = shop.cli("worker", exit_code=2, **{f"KEEPSTREAM_{setting}": value}).stderr
    assert why in said
    assert f"KEEPSTREAM_{setting}" in said


def test_values_that_a_producer_compressed_are_decoded_by_a_worker_of_a_file(system: System) -> None:
    """And one that is cut short dies with its own bytes; validate and a dry run see them as the worker does."""
    (system.folder / "orders.toml").write_text('[keepstream]\ndecode = "gzip"\n')
    cut = gzip.compress(make_value())[:-9]
    system.produce([gzip.compress(make_value(event_id="a", payload={"n": 1})), cut, make_value(event_id="b")])
    file = ("--config", "orders.toml")
    system.start_worker("-P", "-m", "keepstream.app", *file, "worker")
    system.settled(3)
    assert system.database.rows("SELECT event_id FROM events ORDER BY 1") == [("a",), ("b",)]
    (dead,) = system.dead().values()
    assert (dead.value, header(dead, "keepstream.dlq.reason")) == (cut, "decode_failed")
    checked = system.cli(*file, "events", "validate", "--topic", system.topic, "--json", exit_code=1)
    assert "decode hook gzip raised ValueError" in checked.stdout
    tried = system.cli(*file, "dlq", "replay", "--include-resolved", "--dry-run", "--json")
    assert "decode_failed" in tried.stdout


def test_the_file_of_the_page_says_what_its_variables_say() -> None:
    table = tomllib.loads(block("toml", 1))["keepstream"]
    assert table["contract"] == documented_settings()["KEEPSTREAM_CONTRACT"]
    assert table["steps"] == json.loads(documented_settings()["KEEPSTREAM_STEPS"])
