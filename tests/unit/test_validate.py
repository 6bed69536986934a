"""What the contract refuses and how it says so; what it accepts and how it completes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.validation.contract import MAX_DEPTH
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import MAX_VALUE_BYTES, Event, Rejection, ValidEvent
from tests.builders import AT, make_record, make_value
from tests.malicious_input import HOSTILE, as_payload, corpus

MISSING: Any = ...


def refused(value: bytes | None) -> tuple[str, str]:
    verdict = validate(make_record(value))
    assert isinstance(verdict, Rejection), verdict
    return verdict.reason, verdict.message


def accepted(value: bytes) -> dict[str, Any]:
    verdict = validate(make_record(value))
    assert isinstance(verdict, ValidEvent), verdict
    return dict(json.loads(verdict.document))


@pytest.mark.parametrize(
    ("field", "value", "reason", "message"),
    [
        ("event_id", MISSING, "missing_field", "event_id: is required and absent"),
        ("event_id", "", "invalid_field", "event_id: must not be empty"),
        ("event_id", " \t", "invalid_field", "event_id: must not be blank"),
        ("event_id", 5, "invalid_field", "event_id: input should be a valid string"),
        ("event_id", None, "invalid_field", "event_id: input should be a valid string"),
        ("event_id", "x" * 256, "invalid_field", "event_id: string should have at most 255 characters"),
        ("payload", MISSING, "missing_field", "payload: is required and absent"),
        ("payload", None, "invalid_field", "payload: must be a JSON object"),
        ("payload", [], "invalid_field", "payload: must be a JSON object"),
        ("metadata", [], "invalid_field", "metadata: must be a JSON object or null"),
        ("correlation_id", 5, "invalid_field", "correlation_id: input should be a valid string"),
        ("correlation_id", "y" * 256, "invalid_field", "correlation_id: string should have at most 255 characters"),
        ("retry_attempt", -1, "invalid_field", "retry_attempt: input should be greater than or equal to 0"),
        ("retry_attempt", 2**31, "invalid_field", "retry_attempt: input should be less than or equal to 2147483647"),
        ("retry_attempt", 1.0, "invalid_field", "retry_attempt: input should be a valid integer"),
        ("retry_attempt", True, "invalid_field", "retry_attempt: input should be a valid integer"),
        ("retry_attempt", "1", "invalid_field", "retry_attempt: input should be a valid integer"),
    ],
)
def test_a_bad_field_is_named_with_what_is_wrong(field: str, value: object, reason: str, message: str) -> None:
    assert refused(make_value(**{field: value})) == (reason, message)


@pytest.mark.parametrize(
    ("value", "reason", "message"),
    [
        (None, "tombstone", "no value"),
        (b"", "empty_value", "the value is empty"),
        (b"\xff{}", "invalid_utf8", "byte 0 cannot be decoded"),
        (b"{", "invalid_json", "the value is not JSON"),
        (b"\xef\xbb\xbf{}", "invalid_json", "byte order mark"),
        (b'{"event_id":"a","payload":{}} x', "invalid_json", "trailing characters"),
        (b"[]", "not_an_object", "not an object"),
        (b'"text"', "not_an_object", "not an object"),
        (as_payload(rb'"\ud800"'), "lone_surrogate", "half of a surrogate pair"),
        (as_payload(rb'"\ud800x"'), "lone_surrogate", "half of a surrogate pair"),
        (as_payload(rb'"\udc00"'), "lone_surrogate", "half of a surrogate pair"),
        (as_payload(rb'"\ud800\u0041"'), "lone_surrogate", "half of a surrogate pair"),
        (as_payload(rb'"\u12"'), "invalid_json", "the value is not JSON"),
        (as_payload(rb'"\u0000"'), "nul_character", r"\u0000"),
        (as_payload(b"NaN"), "not_finite_number", "NaN and Infinity"),
        (as_payload(b"-Infinity"), "not_finite_number", "NaN and Infinity"),
        (as_payload(b"1e131072"), "number_out_of_range", "more digits"),
        (as_payload(b"9" * 4301), "number_out_of_range", "more digits"),
        (as_payload(b"[" * 63 + b"]" * 63), "too_deep", f"deeper than {MAX_DEPTH} levels"),
        (b" " * MAX_VALUE_BYTES + b"1", "too_large", f"{MAX_VALUE_BYTES + 1} bytes"),
    ],
)
def test_a_bad_value_gets_its_own_reason(value: bytes | None, reason: str, message: str) -> None:
    found, text = refused(value)
    assert found == reason
    assert message in text


def test_messages_never_repeat_what_the_producer_wrote() -> None:
    for text in (b'{"event_id":"s3cret', b'{"event_id":"s3cret","payload":["s3cret"],"timestamp":"s3cret"}', b"s3cret"):
        assert "s3cret" not in refused(text)[1]


def test_the_deepest_and_the_largest_acceptable_values_are_accepted() -> None:
    assert accepted(as_payload(b"[" * 62 + b"]" * 62))
    frame = len(make_value(event_id="e", payload={"x": ""}))
    assert accepted(make_value(event_id="e", payload={"x": "y" * (MAX_VALUE_BYTES - frame)}))


@pytest.mark.parametrize("text", ["x" * 255, "\N{GRINNING FACE}" * 255, "\N{ZERO WIDTH SPACE}", "0"])
def test_ids_are_measured_in_characters_and_kept_as_they_are(text: str) -> None:
    assert accepted(make_value(event_id=text, correlation_id=text))["event_id"] == text


def test_unknown_fields_are_ignored() -> None:
    assert accepted(make_value(event_id="e", nonsense=[1]))["event_id"] == "e"


def test_null_is_as_absent_in_every_optional_field() -> None:
    nulls = dict.fromkeys(("metadata", "timestamp", "correlation_id", "retry_attempt"))
    assert accepted(make_value(event_id="e", **nulls))["correlation_id"] == "e"
    assert Event.model_validate_json(make_value(event_id="e", **nulls)).retry_attempt == 0


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert accepted(b'{"event_id":5,"event_id":"a","payload":[],"payl\\u006fad":{}}')["event_id"] == "a"
    assert refused(b'{"event_id":"a","event_id":5,"payload":{}}')[0] == "invalid_field"


@pytest.mark.parametrize("timestamp", [AT, None])
def test_a_producer_cannot_write_the_members_that_are_ours(timestamp: str | None) -> None:
    plain = make_value(event_id="e", timestamp=timestamp)
    forged = plain[:-1] + f',"@offset":999,"@undated":{"true" if timestamp else "false"}}}'.encode()
    events = [validate(make_record(value, offset=7)) for value in (plain, forged)]
    assert all(isinstance(event, ValidEvent) for event in events)
    documents = [json.loads(event.document) for event in events if isinstance(event, ValidEvent)]
    assert documents[0] == documents[1]
    assert (documents[0]["@offset"], documents[0]["@undated"]) == (7, timestamp is None)
    assert [event.is_undated for event in events if isinstance(event, ValidEvent)] == [timestamp is None] * 2


@pytest.mark.parametrize("space", [b" ", b"\n", b"\r\n\t "])
def test_white_space_around_the_object_changes_nothing(space: bytes) -> None:
    assert accepted(space + make_value(event_id="e") + space)["event_id"] == "e"


def test_a_rejection_carries_the_event_id_where_a_row_could_have_it() -> None:
    rejections = [
        validate(make_record(value))
        for value in (
            make_value(event_id="e", payload=None),
            make_value(event_id="e", payload={"x": "\0"}),
            make_value(event_id="e\0", payload=None),
            make_value(event_id="e\0"),
            make_value(event_id="x" * 256),
        )
    ]
    assert [r.event_id for r in rejections if isinstance(r, Rejection)] == ["e", "e", None, None, None]


def test_nothing_hostile_makes_validate_raise() -> None:
    for text in [*HOSTILE, *corpus()]:
        for value in (text, as_payload(text)):
            assert isinstance(validate(make_record(value)), ValidEvent | Rejection)


@given(st.binary(max_size=60))
def test_no_bytes_make_validate_raise(value: bytes) -> None:
    assert isinstance(validate(make_record(value)), ValidEvent | Rejection)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            None,
            (
                "tombstone",
                "the record has no value (a tombstone); KEEPSTREAM_MAPPING__TOMBSTONES=ignore or delete takes it",
            ),
        ),
        (b"", ("empty_value", "the value is empty; a JSON object is expected")),
    ],
)
def test_a_record_without_a_value_is_told_in_full(value: bytes | None, expected: tuple[str, str]) -> None:
    assert refused(value) == expected


def test_brackets_are_counted_only_where_there_are_enough_of_them_to_be_too_deep() -> None:
    value = as_payload(b"[" * (MAX_DEPTH - 2) + b"]" * (MAX_DEPTH - 2))
    assert accepted(value)["payload"]
    assert refused(as_payload(b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)))[0] == "too_deep"


def test_a_bad_timestamp_still_tells_which_event_it_was() -> None:
    verdict = validate(make_record(make_value(event_id="e", timestamp="2026-02-30T10:00:00Z")))
    assert isinstance(verdict, Rejection)
    assert verdict.event_id == "e"


def test_a_correlation_id_of_255_characters_is_taken_from_the_header() -> None:
    record = make_record(make_value(correlation_id=...), headers=[("correlation_id", b"c" * 255)])
    verdict = validate(record)
    assert isinstance(verdict, ValidEvent)
    assert verdict.correlation_id == "c" * 255


def test_as_many_brackets_as_may_be_deep_may_have_others_beside_them() -> None:
    deep = b"[" * (MAX_DEPTH - 3) + b"]" * (MAX_DEPTH - 3)
    assert accepted(as_payload(b"[[],[],%b]" % deep))["payload"]
    assert refused(as_payload(b"[[],[],[%b]]" % deep))[0] == "too_deep"
