"""CloudEvents in binary mode: the envelope is in the headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.record import cloud_event_id
from tests.builders import AT, make_record

TEXT = st.text("ab/% #", min_size=1, max_size=4)
BINARY: tuple[tuple[str, bytes | None], ...] = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"ce-1"),
    ("ce_time", AT.encode()),
    ("ce_source", b"/shop"),
    ("ce_type", b"order.placed"),
    ("content-type", b"application/json"),
)


def completed(value: bytes, headers: Any = BINARY) -> dict[str, Any]:
    event = validate(make_record(value, headers=headers))
    assert isinstance(event, ValidEvent), event
    return dict(json.loads(event.document))


def test_the_headers_become_the_envelope_and_the_value_the_payload() -> None:
    document = completed(b'{"amount":1}')
    assert (document["event_id"], document["timestamp"], document["payload"]) == ("/shop ce-1", AT, {"amount": 1})
    assert document["metadata"] == {
        "ce_id": "ce-1",
        "ce_source": "/shop",
        "ce_specversion": "1.0",
        "ce_type": "order.placed",
    }


def test_two_sources_with_one_id_are_two_events() -> None:
    other = [(name, b"/users" if name == "ce_source" else value) for name, value in BINARY]
    assert completed(b"{}")["event_id"] != completed(b"{}", other)["event_id"]


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_source_and_id_together_make_the_event_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    one, other = ((source.replace("%20", " "), id_) for source, id_ in (one, other))
    assert (cloud_event_id(*one) == cloud_event_id(*other)) == (one == other)


@pytest.mark.parametrize("length", [249, 250, 5000])
def test_an_id_that_would_be_too_long_is_hashed(length: int) -> None:
    headers = [h for h in BINARY if h[0] != "ce_id"]
    ids = {completed(b"{}", [*headers, ("ce_id", b"x" * length + last)])["event_id"] for last in (b"1", b"2")}
    assert len(ids) == 2
    assert all(event_id.startswith("/shop x" if length < 249 else "sha256:") for event_id in ids)


def test_without_a_source_the_id_alone_counts() -> None:
    assert completed(b"{}", [h for h in BINARY if h[0] != "ce_source"])["event_id"] == "ce-1"


def test_without_a_time_the_records_timestamp_counts() -> None:
    headers = [h for h in BINARY if h[0] != "ce_time"]
    assert completed(b"{}", headers)["timestamp"].startswith("2026-11-24T10:00:00.000")


@pytest.mark.parametrize("missing", ["ce_specversion", "ce_id"])
def test_without_a_required_attribute_it_is_an_ordinary_record(missing: str) -> None:
    verdict = validate(make_record(b'{"amount":1}', headers=[h for h in BINARY if h[0] != missing]))
    assert isinstance(verdict, Rejection)
    assert verdict.message == "event_id: is required and absent"


def test_white_space_around_the_value_does_no_harm() -> None:
    assert completed(b' {"amount":1} \n')["payload"] == {"amount": 1}


@pytest.mark.parametrize(
    "value",
    [
        b'{}},"event_id":"injected","payload":{}',
        b'{},"event_id":"injected"',
        b'{}, "metadata":{}',
        b'{"a":1',
        b'{}}{"a":1',
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_value_that_closes_the_envelope_is_refused(value: bytes) -> None:
    verdict = validate(make_record(value, headers=BINARY))
    assert isinstance(verdict, Rejection), verdict
    assert verdict.reason == "invalid_json"


@pytest.mark.parametrize("value", [b"[]", b"1", b'"text"', b"null"])
def test_a_value_that_is_no_object_names_the_payload(value: bytes) -> None:
    verdict = validate(make_record(value, headers=BINARY))
    assert isinstance(verdict, Rejection)
    assert verdict.message == "payload: must be a JSON object"
    assert verdict.event_id == "/shop ce-1"


def test_quotes_in_a_header_stay_text() -> None:
    headers = [*BINARY, ("ce_subject", b'","event_id":"injected')]
    assert completed(b"{}", headers)["metadata"]["ce_subject"] == '","event_id":"injected'


def test_a_header_that_is_not_text_is_null_in_the_metadata() -> None:
    assert completed(b"{}", [*BINARY, ("ce_data", b"\xff")])["metadata"]["ce_data"] is None


def test_fields_of_the_value_stay_inside_the_payload() -> None:
    document = completed(b'{"event_id":"other","timestamp":"never"}')
    assert document["event_id"] == "/shop ce-1"
    assert document["payload"] == {"event_id": "other", "timestamp": "never"}


def test_a_nul_character_in_a_header_is_refused_as_such() -> None:
    verdict = validate(make_record(b"{}", headers=[*BINARY, ("ce_subject", b"\0")]))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == "nul_character"
