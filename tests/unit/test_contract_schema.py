"""What a topic accepts, exported for its producers: the schema is valid, and accepts whatever the contract accepts."""

from __future__ import annotations

import json
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from keepstream.app.cli.root import root
from keepstream.app.config.contract import load_contract
from keepstream.app.config.contract_schema import asyncapi, json_schema
from keepstream.app.config.settings import Settings
from keepstream.app.errors import KeepstreamError
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Contract, Event, ValidEvent
from keepstream.schemas.record import Record
from tests.builders import AT, make_record
from tests.event_shapes import SHAPES

PAGE = (Path(__file__).parents[2] / "docs/own-events.md").read_text(encoding="utf-8")


class Order(Contract):
    """An order, with lines of its own type."""

    class Line(Contract):
        sku: str
        amount: Decimal

        def event(self, record: Record) -> Event:
            raise NotImplementedError

    no: int
    lines: list[Line]

    def event(self, record: Record) -> Event:
        return Event(event_id=str(self.no), payload=self.model_dump())


class Odd(Contract):
    """A field that JSON Schema has no type for."""

    thing: complex | Any
    call: Any

    def event(self, record: Record) -> Event:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        from pydantic.errors import PydanticInvalidForJsonSchema

        raise PydanticInvalidForJsonSchema("no schema for it")


def settings(**given: Any) -> Settings:
    return Settings(_env_file=None, **given)


def accepts(schema: dict[str, Any], value: bytes | str) -> bool:
    Draft202012Validator.check_schema(schema)
    return bool(Draft202012Validator(schema).is_valid(json.loads(value)))


DEFAULT = json_schema(settings())
TEXTS = st.text("a \x1c\x85\u00a0\ufeff\u200b\n\0", max_size=4) | st.sampled_from(["x" * 255, "x" * 256])
TIMES = st.sampled_from([AT, "2026-11-24t10:00Z", "2026-11-24 10:00:00.123456789+05", "2026-02-31T10:00:00Z", "", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**31) | TEXTS | st.just(1.0),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@example({"event_id": "\x1c", "payload": {}})
@example({"event_id": "\ufeff", "payload": {}, "retry_attempt": None})
@given(
    st.fixed_dictionaries(
        {"event_id": TEXTS | JSON, "payload": st.dictionaries(TEXTS, JSON, max_size=2) | JSON},
        optional={
            "metadata": JSON, "timestamp": TIMES | st.none() | JSON, "correlation_id": TEXTS | st.none() | JSON,
            "retry_attempt": st.integers(-1, 2**31) | st.none() | JSON, "more": JSON,
        },
    )
)  # fmt: skip
def test_what_the_default_contract_accepts_its_schema_accepts(event: dict[str, Any]) -> None:
    value = json.dumps(event).encode()
    if isinstance(validate(make_record(value)), ValidEvent):
        assert accepts(DEFAULT, value), value


@pytest.mark.parametrize(
    "event",
    [
        {}, [], {"event_id": "a"}, {"event_id": "", "payload": {}}, {"event_id": " \t", "payload": {}},
        {"event_id": "a", "payload": []}, {"event_id": "x" * 256, "payload": {}}, {"event_id": 1, "payload": {}},
        {"event_id": "a", "payload": {}, "timestamp": "2026-11-24"},
        {"event_id": "a", "payload": {}, "retry_attempt": -1},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_contract_refuses(event: object) -> None:
    value = json.dumps(event).encode()
    assert not isinstance(validate(make_record(value)), ValidEvent)
    assert not accepts(DEFAULT, value)


SOURCES = ["/id", "/a/id", "/l/0", "/l/1/id", "key", "header:h", "value", "sha256", "x-{/id}", "{/a/id}{/l/0}", "/0"]
NAMES = st.sampled_from(["id", "a", "l", "0", "1"])
NESTED = st.recursive(
    st.none() | st.integers(0, 2**40) | st.sampled_from(["b", "", AT, "2026-11-24T10:00"]) | st.just(1.5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
IDS = st.integers(0, 2**40) | st.sampled_from(["b", AT])
DOCUMENTS = st.fixed_dictionaries(
    {"id": IDS, "a": st.fixed_dictionaries({"id": IDS}) | NESTED, "l": st.tuples(IDS, NESTED) | NESTED},
    optional={
        "at": st.just(AT) | NESTED,
        "0": NESTED,
        "event_id": IDS,
        "payload": st.just({}),
        "timestamp": st.just(AT),
        "retry_attempt": NESTED,
    },
)
OPTIONS = st.fixed_dictionaries(
    {"id": st.sampled_from(SOURCES)},
    optional={
        "payload": st.sampled_from(SOURCES), "correlation_id": st.sampled_from([*SOURCES, "none"]),
        "metadata": st.sampled_from(["/a", "/l/1", "value", "none"])
        | st.dictionaries(NAMES, st.sampled_from(SOURCES), min_size=1, max_size=2),
        "timestamp": st.sampled_from(["/at", "/l/0", "record", "none", "{/at}", "header:h"]),
        "timestamp_format": st.sampled_from(["rfc3339", "epoch_ms"]), "timestamp_zone": st.sampled_from(["UTC"]),
    },
)  # fmt: skip


@given(OPTIONS, DOCUMENTS | NESTED)
def test_what_a_mapping_accepts_its_schema_accepts(options: dict[str, Any], document: Any) -> None:
    if options.get("timestamp_format") == "epoch_ms":
        options.pop("timestamp_zone", None)
    given_settings = settings(mapping=options)
    record = make_record(json.dumps(document).encode(), headers=[("h", b"x")])
    if isinstance(load_contract(given_settings).validate(record), ValidEvent):
        assert accepts(json_schema(given_settings), record.value or b""), (options, document)


@pytest.mark.parametrize("name", SHAPES)
def test_the_usual_shapes_fit_the_schema_of_their_settings(name: str) -> None:
    shape = SHAPES[name]
    schema = json_schema(settings(mapping=tomllib.loads(shape.lines)))
    if shape.value and "ce_specversion" not in shape.headers:
        assert accepts(schema, shape.value)
    assert not accepts(schema, b"null")


def resolves(document: dict[str, Any]) -> None:
    """Follow each reference."""
    for reference in re.findall(r'"\$ref": "#/([^"]*)"', json.dumps(document)):
        found = document
        for name in reference.split("/"):
            found = found[name]


@pytest.mark.parametrize(
    ("given_settings", "names"),
    [
        ({}, ["event", "binaryCloudEvent"]),
        ({"contract": "tests.unit.test_contract_schema:Order"}, ["event"]),
        ({"mapping": {"preset": "dapr"}}, ["structuredCloudEvent", "binaryCloudEvent"]),
        ({"mapping": {"preset": "debezium"}}, ["event"]),
        ({"mapping": {"id": "header:id", "payload": "value", "correlation_id": "{key}"}}, ["event"]),
    ],
)
def test_the_asyncapi_document_names_the_topic_and_resolves(given_settings: dict[str, Any], names: list[str]) -> None:
    found = asyncapi(settings(kafka={"topic": "orders"}, **given_settings))
    assert (found["asyncapi"], found["channels"]["topic"]["address"]) == ("3.0.0", "orders")
    messages = found["components"]["messages"]
    assert [*messages] == names
    resolves(found)
    for message in messages.values():
        Draft7Validator.check_schema(message["payload"])
        Draft7Validator.check_schema(message.get("headers", {}))


def test_headers_and_key_that_must_be_there_are_in_the_asyncapi_document() -> None:
    mapping = {"id": "header:id", "payload": "value", "timestamp": "header:at", "correlation_id": "{key}-{header:c}"}
    (message,) = asyncapi(settings(mapping=mapping))["components"]["messages"].values()
    assert message["headers"]["required"] == ["at", "c", "id"]
    assert message["bindings"]["kafka"]["key"] == {"type": "string"}


def test_a_contract_of_ones_own_is_exported_with_its_parts() -> None:
    schema = json_schema(settings(contract="tests.unit.test_contract_schema:Order"))
    assert accepts(schema, b'{"no": 1, "lines": [{"sku": "a", "amount": 1.10}]}')
    assert not accepts(schema, b'{"no": 1, "lines": [{"sku": "a"}]}')
    with pytest.raises(KeepstreamError, match="Odd has no JSON Schema: no schema for it"):
        json_schema(settings(contract="tests.unit.test_contract_schema:Odd"))


def test_what_holds_beside_the_schema_is_said_in_it() -> None:
    said = json_schema(settings(decode="gzip", steps=["mask"], contract="keepstream:Event", mapping={"id": "key"}))
    for words in ("1,048,576 bytes", "what gzip makes", "Transforms may reject more: mask", "after the mapping"):
        assert words in said["description"]


def test_the_version_changes_with_what_is_accepted_and_only_then() -> None:
    versions = [asyncapi(settings(**given))["info"]["version"] for given in ({}, {}, {"mapping": {"id": "/x"}})]
    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize("form", ["json-schema", "asyncapi"])
def test_the_command_prints_it(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(root, ["contract", "export", "--format", form])
    assert result.exit_code == 0, result.output
    expected = json_schema(settings()) if form == "json-schema" else asyncapi(settings())
    assert json.loads(result.stdout) == expected
