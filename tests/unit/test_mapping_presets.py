"""The mappings that have a name: CloudEvents, Dapr, Debezium's change events and its outbox."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.app.config.contract import load_contract
from keepstream.app.config.settings import Settings
from keepstream.processors.validation.contract import Verdict
from keepstream.schemas.event import Ignored, Rejection, ValidEvent
from tests.builders import AT, make_record

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
CLOUD = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "order.placed", "time": AT}
CHANGE = {
    "before": None, "after": {"id": 1, "price": 1.5}, "op": "c", "ts_ms": 1764000000999,
    "source": {"db": "shop", "schema": "public", "table": "orders", "ts_ms": 1764000000123, "lsn": 24023128},
}  # fmt: skip


def verdict(preset: str, value: bytes | None, **record: Any) -> Verdict:
    mapping = {"preset": preset} | record.pop("mapping", {})
    return load_contract(Settings(_env_file=None, mapping=mapping)).validate(make_record(value, **record))


def stored(preset: str, value: Any, **record: Any) -> dict[str, Any]:
    event = verdict(preset, value if isinstance(value, bytes | None) else json.dumps(value).encode(), **record)
    assert isinstance(event, ValidEvent), event
    return dict(json.loads(event.document, parse_float=Decimal))


def refused(preset: str, value: Any, **record: Any) -> tuple[str, str]:
    found = verdict(preset, value if isinstance(value, bytes | None) else json.dumps(value).encode(), **record)
    assert isinstance(found, Rejection), found
    return found.reason, found.message


def in_headers(attributes: dict[str, Any], content_type: str | None = "application/json") -> list[tuple[str, bytes]]:
    found = [(f"ce_{name}", str(value).encode()) for name, value in attributes.items()]
    return [*found, ("content-type", content_type.encode())] if content_type else found


PARTS = ("event_id", "timestamp", "correlation_id", "payload", "metadata")


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)


@given(st.dictionaries(TEXT, st.integers() | TEXT) | st.lists(st.integers()) | TEXT)
def test_a_structured_and_a_binary_event_are_the_same_row(data: Any) -> None:
    more = CLOUD | {"traceparent": PARENT, "subject": "a \u00e9"}
    structured = stored("cloudevents", more | {"datacontenttype": "application/json", "data": data})
    binary = stored("cloudevents", data, headers=in_headers(more))
    assert {name: structured[name] for name in PARTS} == {name: binary[name] for name in PARTS}
    assert structured["payload"] == data
    assert (structured["event_id"], structured["timestamp"], structured["correlation_id"]) == ("/shop 7", AT, TRACE)
    assert structured["metadata"]["ce_type"] == "order.placed"


def test_numbers_of_data_and_of_extensions_keep_their_digits() -> None:
    value = json.dumps(CLOUD | {"data": 0, "ratio": 1}).replace('"data": 0', '"data":{"n":1.000000000000000001}')
    found = stored("cloudevents", value.replace('"ratio": 1', '"ratio":12345678901234567890.10').encode())
    assert found["payload"] == {"n": Decimal("1.000000000000000001")}
    assert found["metadata"]["ce_ratio"] == Decimal("12345678901234567890.10")


@pytest.mark.parametrize(
    ("content_type", "value", "payload"),
    [
        (None, b'{"a": 1}', {"a": 1}),
        ("application/json; charset=UTF-8", b"[1]", [1]),
        ("application/vnd.shop.order+json", b"2", 2),
        ("text/plain", b"hello", "hello"),
        ("application/octet-stream", b"\xff\x00", {"data_base64": "/wA="}),
        ("application/json", None, {}),
        ("application/json", b"", {}),
        ("application/json", b"null", {}),
    ],
)
def test_data_of_any_type_and_none_have_a_place(content_type: str | None, value: bytes | None, payload: Any) -> None:
    found = stored("cloudevents", value, headers=in_headers(CLOUD, content_type))
    assert (found["event_id"], found["payload"]) == ("/shop 7", payload)


@pytest.mark.parametrize(
    ("data", "payload"),
    [({}, {}), ({"data": None}, {}), ({"data_base64": "/wA="}, {"data_base64": "/wA="}), ({"data": "x"}, "x")],
)
def test_a_structured_event_may_have_no_data_or_bytes(data: dict[str, Any], payload: Any) -> None:
    assert stored("cloudevents", CLOUD | data)["payload"] == payload


def test_headers_that_an_older_spring_quoted_are_understood() -> None:
    headers = [(name, b'"' + value + b'"') for name, value in in_headers(CLOUD)]
    found = stored("cloudevents", b'{"a":1}', headers=headers)
    assert (found["event_id"], found["timestamp"], found["payload"]) == ("/shop 7", AT, {"a": 1})
    assert found["metadata"]["ce_specversion"] == "1.0"


@pytest.mark.parametrize(
    ("value", "headers", "reason", "words"),
    [
        ([CLOUD, CLOUD], [], "several_events", "a batch of 2 events; a record must be one event"),
        ({}, in_headers({}, "application/cloudevents-batch+json"), "several_events", "a batch of events"),
        ({"a": 1}, [], "missing_field", "specversion: is required, in the value or as header ce_specversion"),
        (5, [], "not_an_object", "not an object"),
        (b"{", [], "invalid_json", "not JSON"),
        (None, [], "tombstone", "neither a value nor the headers"),
        (b"{", in_headers(CLOUD), "invalid_json", "not JSON"),
        (CLOUD | {"id": ""}, [], "missing_field", "id: is required"),
        ({"a": 1}, in_headers({"specversion": "1.0", "id": "1"}), "missing_field", "ce_source: is required"),
        (CLOUD | {"time": 5}, [], "invalid_field", "time: must be text"),
        (CLOUD | {"time": "5"}, [], "invalid_timestamp", "timestamp: must be RFC 3339"),
    ],
)
def test_what_is_no_cloud_event_is_refused_in_its_own_words(value: Any, headers: Any, reason: str, words: str) -> None:
    found, message = refused("cloudevents", value, headers=headers)
    assert found == reason
    assert words in message


def test_dapr_correlates_by_its_trace() -> None:
    dapr = CLOUD | {"data": {"a": 1}, "pubsubname": "p", "topic": "t", "traceid": PARENT, "traceparent": ""}
    assert stored("dapr", dapr)["correlation_id"] == TRACE
    assert stored("dapr", dapr | {"traceid": ""})["correlation_id"] == "/shop 7"


def with_schema(value: Any) -> dict[str, Any]:
    return {"schema": {"type": "struct", "fields": []}, "payload": value}


@pytest.mark.parametrize("wrap", [lambda value: value, with_schema], ids=["plain", "with schema"])
def test_a_change_is_a_version_of_its_row(wrap: Any) -> None:
    found = stored("debezium", wrap(CHANGE), key=json.dumps(wrap({"id": 1})).encode())
    assert found["event_id"] == 'shop.public.orders {"id": 1}'
    assert found["timestamp"] == "2025-11-24T16:00:00.123Z"
    assert found["payload"] == {"id": 1, "price": Decimal("1.5")}
    assert found["metadata"] == {"op": "c", "source": CHANGE["source"]}


def test_a_change_has_microseconds_where_debezium_gives_them() -> None:
    change = CHANGE | {"source": CHANGE["source"] | {"ts_us": 1764000000123456}}  # type: ignore[operator]
    assert stored("debezium", change)["timestamp"] == "2025-11-24T16:00:00.123456Z"


@pytest.mark.parametrize(("before", "payload"), [({"id": 1}, {"id": 1}), (None, {})])
def test_a_delete_is_stored_and_says_so(before: Any, payload: Any) -> None:
    found = stored("debezium", CHANGE | {"op": "d", "before": before, "after": None})
    assert (found["payload"], found["metadata"]["op"], found["metadata"]["deleted"]) == (payload, "d", True)


@pytest.mark.parametrize(
    ("value", "key", "reason", "words"),
    [
        ({"ts_ms": 1}, b"k", "missing_field", "op: is required and absent: no change event of Debezium"),
        ([], b"k", "missing_field", "op: is required"),
        (CHANGE | {"op": "t"}, b"k", "invalid_field", "op: must be c, r, u or d"),
        (CHANGE, None, "missing_field", "key: is required and absent: the table has no primary key"),
        (CHANGE | {"after": None}, b"k", "missing_field", "after: is required"),
        (CHANGE | {"source": {}}, b"k", "invalid_timestamp", "source.ts_ms: must be a number"),
    ],
)
def test_what_is_no_change_is_refused(value: Any, key: bytes | None, reason: str, words: str) -> None:
    found, message = refused("debezium", value, key=key)
    assert found == reason
    assert words in message


def test_the_tombstone_after_a_delete_of_debezium_is_ignored_unless_a_setting_says_otherwise() -> None:
    assert verdict("debezium", None, key=b"1") == Ignored()
    kept = verdict("debezium", None, key=b"1", mapping={"tombstones": "dead_letter"})
    assert isinstance(kept, Rejection)
    assert kept.reason == "tombstone"


@pytest.mark.parametrize(
    "value",
    [
        b'{"total":1.10}',
        json.dumps('{"total":1.10}').encode(),
        json.dumps(with_schema('{"total":1.10}')).encode(),
        b'{"schema":{},"payload":{"total":1.10}}',
    ],
)
def test_an_outbox_event_is_identified_by_its_header(value: bytes) -> None:
    headers = [("id", b"0e"), ("eventType", b"placed"), ("__debezium.context.runId", b"another after each start")]
    found = stored("debezium-outbox", value, key=b'"order-1"', headers=headers)
    assert (found["event_id"], found["correlation_id"]) == ("0e", "order-1")
    assert (found["payload"], found["metadata"]) == ({"total": Decimal("1.10")}, {"eventType": "placed"})
    assert found["timestamp"].startswith("2026-11-24T10:00:00")
    assert stored("debezium-outbox", value, headers=[("id", b'"0e"')])["event_id"] == "0e"


def test_text_that_is_no_document_stays_text() -> None:
    for text in ("hello", "5", "{"):
        assert stored("debezium-outbox", text, headers=[("id", b"1")])["payload"] == text
    assert refused("debezium-outbox", {})[1].startswith("header:id: is required and absent")
    assert refused("debezium-outbox", with_schema(None), headers=[("id", b"1")])[0] == "missing_field"


def test_a_part_that_is_named_replaces_the_presets() -> None:
    own = {"id": "/after/id", "timestamp": "/ts_ms", "timestamp_format": "epoch_ms"}
    found = stored("debezium", CHANGE, mapping=own)
    assert (found["event_id"], found["timestamp"]) == ("1", "2025-11-24T16:00:00.999Z")
    assert found["metadata"]["op"] == "c"
    found = stored("cloudevents", b"text", headers=in_headers(CLOUD, "text/plain"), mapping={"metadata": "none"})
    assert (found["payload"], found["metadata"]) == ("text", None)
    found = stored("debezium", CHANGE, mapping={"payload": "/source"})
    assert found["payload"] == CHANGE["source"]
    assert refused("cloudevents", b"text", headers=in_headers(CLOUD, "text/plain"), mapping={"payload": "value"})[
        0
    ] == ("missing_field")
