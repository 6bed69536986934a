"""Hostile input gets one verdict: each time, alone and among others, on the fast path and step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.validation.contract import check_contract
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.record import KafkaRecord
from tests.builders import make_record, make_value
from tests.malicious_input.records import HEADERS, hostile_records
from tests.malicious_input.texts import TEXTS
from tests.malicious_input.values import as_payload, as_whole_payload, corpus
from tests.unit.pipeline_fixture import PipelineFixture, deadlock

RECORDS = hostile_records()
NOT_JSON = frozenset(("invalid_json", "invalid_utf8", "empty_value", "not_finite_number", "lone_surrogate", "too_deep"))
NO_EVENT = frozenset(("not_an_object", "missing_field", "invalid_field"))
FORMS = [bytes, as_payload, as_whole_payload]


def reason(record: KafkaRecord) -> str | None:
    verdict = validate(record)
    return verdict.reason if isinstance(verdict, Rejection) else None


def reason_of(value: bytes | None) -> str | None:
    return reason(make_record(value))


@pytest.mark.parametrize("form", FORMS)
def test_what_no_parser_accepts_is_refused_as_no_json(form: Callable[[bytes], bytes]) -> None:
    for text in corpus("n_"):
        lenient = b"NaN" in text or b"Infinity" in text  # pydantic reads them; what is around them may be wrong first
        assert (reason_of(form(text)) in NOT_JSON) or (lenient and reason_of(form(text)) in NO_EVENT), text


def test_what_every_parser_accepts_is_json_to_us_and_fits_a_payload() -> None:
    for text in corpus("y_"):
        whole, inside = reason_of(text), reason_of(as_payload(text))
        assert whole in NO_EVENT, text
        assert inside == ("nul_character" if r"\x00" in repr(json.loads(text)) else None), text
        assert reason_of(as_whole_payload(text)) == (inside if text.strip().startswith(b"{") else "invalid_field"), text


def test_the_second_look_says_what_the_first_one_said() -> None:
    first = [validate(record) for record in RECORDS]
    assert [validate(record) for record in reversed(RECORDS)][::-1] == first


def test_what_is_accepted_is_the_event_that_the_document_says() -> None:
    for record in RECORDS:
        verdict = validate(record)
        if isinstance(verdict, ValidEvent):
            document = json.loads(verdict.document)
            assert document["@offset"] == record.offset
            assert document["event_id"] == verdict.event_id
            assert document.get("correlation_id") == verdict.correlation_id
            assert document["timestamp"] == verdict.timestamp
            assert isinstance(document["payload"], dict) or record.headers


@pytest.mark.parametrize("step_path", [False, True])
@pytest.mark.parametrize("size", [1, 100])
async def test_a_record_dies_for_the_same_reason_whatever_way_its_batch_takes(*, step_path: bool, size: int) -> None:
    chosen = RECORDS[:: 3 if step_path or size == 1 else 1]
    world, records = PipelineFixture(), [replace(record, offset=offset) for offset, record in enumerate(chosen)]
    for begin in range(0, len(records), size):
        world.rules.script = [deadlock()] if step_path else []
        await world.process(records[begin : begin + size])
    alone = {record.offset: why for record in records if (why := reason(record))}
    assert world.causes == alone
    for letter in world.letters.records:
        record = records[letter.offset]
        assert (letter.key, letter.value) == (record.key, record.value)


BYTES = st.binary(max_size=200)
SHORT = st.sampled_from([text for text in TEXTS if len(text) < 50])
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | SHORT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | SHORT, inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        name: st.text() | JSON
        for name in ("event_id", "payload", "metadata", "timestamp", "correlation_id", "retry_attempt", "@offset", "x")
    },
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good event in which a few bytes were cut out, put in or changed."""
    value = make_value(event_id="e", payload={"x": ["\u00e9", 1.5, None, {}]})
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(value)))
        value = value[:begin] + draw(st.binary(max_size=3)) + value[begin + draw(st.integers(0, 3)) :]
    return value


@given(st.none() | BYTES | damaged() | FIELDS.map(lambda fields: json.dumps(fields).encode()))
def test_any_bytes_get_the_same_verdict_twice_and_an_accepted_document_is_one_json_object(value: bytes | None) -> None:
    record = make_record(value)
    verdict = validate(record)
    assert validate(record) == verdict
    if isinstance(verdict, ValidEvent):
        document = json.loads(verdict.document, parse_constant=pytest.fail)
        assert (document["event_id"], document["@offset"]) == (verdict.event_id, 0)
    else:
        assert isinstance(verdict, Rejection)
        assert verdict.message
        assert b"\0" not in verdict.message.encode()


NAMES = st.sampled_from([*HEADERS, "ce_x", ""]) | st.text(max_size=5)


@given(st.none() | BYTES, st.none() | BYTES, st.lists(st.tuples(NAMES, st.none() | BYTES), max_size=6))
def test_any_key_and_headers_get_the_same_verdict_twice(
    value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    record = make_record(value, key=key, headers=headers)
    assert validate(record) == validate(record)
    assert isinstance(check_contract(record), Rejection) <= isinstance(validate(record), Rejection)
