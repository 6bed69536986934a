"""Each of the usual shapes gets a mapping under which all of it passes."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from keepstream.app.config.contract import load_contract
from keepstream.app.config.settings import Settings
from keepstream.processors.mapping.suggest import suggest, to_toml
from keepstream.schemas.event import Rejection
from tests.builders import make_record
from tests.event_shapes import SHAPES

NAMED = {
    "epoch milliseconds": {"timestamp_format": "epoch_ms"},
    "no zone": {"timestamp_zone": "UTC"},
    "structured CloudEvent": {"preset": "cloudevents"},
    "binary CloudEvent of text": {"preset": "cloudevents"},
    "Dapr": {"preset": "dapr"},
    "Debezium change event": {"preset": "debezium"},
    "array payload": {"payload": "/payload"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_usual_shape_gets_a_mapping_under_which_all_pass(name: str) -> None:
    shape = SHAPES[name]
    headers = [(key, text.encode()) for key, text in shape.headers.items()]
    records = [make_record(shape.value, offset, key=shape.key, headers=headers) for offset in range(3)]
    options, accepted = suggest(records)
    assert accepted == 3
    assert options == NAMED.get(name, options)
    assert len(options) <= 6
    mapping = tomllib.loads(to_toml(options))["keepstream"]["mapping"]
    validate = load_contract(Settings(_env_file=None, mapping=mapping)).validate
    assert not any(isinstance(validate(record), Rejection) for record in records)


@pytest.mark.parametrize(
    ("value", "options"),
    [
        (
            {"eventId": "a", "occurredAt": 1764000000123, "correlationId": "c", "data": {}},
            {
                "id": "/eventId",
                "timestamp": "/occurredAt",
                "timestamp_format": "epoch_ms",
                "correlation_id": "/correlationId",
                "payload": "/data",
            },
        ),
        ({"event_id": 5, "payload": {}}, {"id": "/event_id"}),
        ({"total": 1}, {"id": "sha256", "payload": "value"}),
        ({"id": "a", "created": "2026-11-24T10:00:00Z", "meta": {}, "data": 5},
         {"id": "/id", "timestamp": "/created", "payload": "/data", "metadata": "/meta"}),
        ([1, 2], {"id": "sha256", "payload": "value"}),
    ],
)  # fmt: skip
def test_the_parts_are_found_by_their_usual_names(value: Any, options: dict[str, str]) -> None:
    records = [make_record(json.dumps(value).encode(), offset) for offset in range(3)]
    assert suggest(records) == (options, 3)


def test_what_most_of_the_records_have_decides() -> None:
    values = [{"id": n, "ts": 1764000000 + n} for n in range(8)] + [{"uuid": "x"}, {}]
    records = [make_record(json.dumps(value).encode(), n) for n, value in enumerate(values)]
    options, accepted = suggest(records)
    assert options == {"id": "/id", "timestamp": "/ts", "timestamp_format": "epoch_s", "payload": "value"}
    assert accepted == 8


def test_what_is_no_json_at_all_gets_nothing() -> None:
    assert suggest([make_record(b"\xff"), make_record(None)])[1] == 0
    assert suggest([])[1] == 0
