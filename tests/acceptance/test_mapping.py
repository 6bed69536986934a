"""The shapes that producers usually write: each is stored by at most six lines of settings, on real parts."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

import pytest
from confluent_kafka import Producer

from keepstream.schemas.record import header
from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.event_shapes import SHAPES, Shape

pytestmark = pytest.mark.real


def environment(lines: str) -> dict[str, str]:
    """The same settings as variables."""
    table = tomllib.loads(lines)
    return {
        f"KEEPSTREAM_MAPPING__{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in table.items()
    }


def produce(system: System, topic: str, shape: Shape, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": system.kafka.bootstrap_servers})
    for value in values:
        producer.produce(topic, value, key=shape.key, headers=dict(shape.headers))
    assert producer.flush(30) == 0


@pytest.mark.parametrize("name", SHAPES)
def test_a_usual_shape_is_stored_by_a_few_lines(new_system: Callable[..., System], name: str) -> None:
    shape = SHAPES[name]
    assert len(shape.lines.splitlines()) <= 6
    system = new_system()
    (system.folder / "keepstream.toml").write_text(f"[keepstream.mapping]\n{shape.lines}\n")
    produce(system, system.topic, shape, shape.value, shape.value)
    produce(system, system.topic, Shape("", b"", "", {}, ""), b'{"nothing": "of it"}')
    system.start_worker(**environment(shape.lines))
    system.settled(3)
    totals = system.database.totals()
    assert (totals["delivered"], totals["duplicate"]) == (1, 1)
    query = "SELECT event_id, payload::text, created_at, correlation_id FROM events"
    ((event_id, payload, created_at, correlation_id),) = system.database.rows(query)
    assert (event_id, correlation_id) == (shape.event_id, shape.correlation_id or shape.event_id)
    assert json.loads(payload, parse_float=Decimal) == shape.payload
    assert created_at == datetime.fromisoformat(shape.created_at)
    (dead,) = system.dead().values()
    assert header(dead, "keepstream.dlq.reason") == "missing_field"
    system.cli("audit", "--deep")


def test_a_live_topic_is_checked_and_gets_settings_under_which_all_of_it_passes(system: System) -> None:
    for shape in SHAPES.values():
        topic = system.kafka.new_topic(2)
        produce(system, topic, shape, *[shape.value] * 20)
        asked = ("events", "validate", "--topic", topic, "--last", "10", "--suggest")
        checked = system.cli(*asked)
        assert "0 valid, " in checked.stderr
        (system.folder / "keepstream.toml").write_text(checked.stdout)
        assert "0 invalid" in system.cli(*asked).stderr
        (system.folder / "keepstream.toml").unlink()
    assert system.database.totals()["total"] == 0


def test_a_topic_says_how_many_records_do_not_pass_and_why(system: System) -> None:
    system.produce([make_value(event_id="a"), b"\0\0\0\0\x07{}", b'{"payload": {}}', b'{"payload": {}}'])
    asked = ("events", "validate", "--topic", system.topic)
    rows = [json.loads(line) for line in system.cli(*asked, "--json", exit_code=1).stdout.splitlines()]
    assert [(row["records"], row["reason"], row["first"]) for row in rows] == [
        (2, "missing_field", f"{system.topic}-0-2"),
        (1, "invalid_json", f"{system.topic}-0-1"),
    ]
    assert "schema id 7" in rows[1]["message"]
    assert "1 valid, 3 invalid" in system.cli(*asked, "--last", "4", exit_code=1).stderr
    assert "0 valid, 1 invalid" in system.cli(*asked, "--last", "1", exit_code=1).stderr
    system.cli("events", "validate", exit_code=2)
    system.cli("events", "validate", "--topic", "no-such-topic", exit_code=3)
