"""The reason of a dead letter says what the value looks like."""

from __future__ import annotations

import gzip
import json

import pytest

from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Rejection
from tests.builders import make_record, make_value


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b"\0\0\0\0\x07" + make_value(), "invalid_json", "a record of a Schema Registry, with schema id 7"),
        (b"\0\0\0\0\x07\x02\xff\x10", "invalid_utf8", "a record of a Schema Registry, with schema id 7"),
        (gzip.compress(make_value()), "invalid_utf8", "it looks like gzip"),
        (make_value().decode().encode("utf-16"), "invalid_utf8", "it looks like UTF-16"),
        (make_value().decode().encode("utf-16-le"), "invalid_json", "it looks like UTF-16"),
        (make_value().decode().encode("utf-16-be"), "invalid_json", "it looks like UTF-16"),
        (b"\xef\xbb\xbf" + make_value(), "invalid_json", "byte order mark"),
        (
            make_value() + b"\n" + make_value() + b"\n",
            "invalid_json",
            "it is several JSON documents: a record",
        ),
        (b"[%b,%b]" % (make_value(), make_value()), "not_an_object", "it is an array of 2: a record must be one event"),
        (json.dumps(make_value().decode()).encode(), "not_an_object", "it was serialized twice"),
        (b'{"specversion":"1.0","id":"1"}', "missing_field", "a structured CloudEvent: KEEPSTREAM_MAPPING__PRESET"),
        (b'{"specversion":"1.0","pubsubname":"1"}', "missing_field", "KEEPSTREAM_MAPPING__PRESET=dapr"),
        (b'{"op":"c","after":{}}', "missing_field", "KEEPSTREAM_MAPPING__PRESET=debezium reads it"),
        (b'{"schema":{},"payload":{"op":"d","before":{}}}', "missing_field", "a change event of Debezium"),
    ],
)
def test_a_usual_stranger_is_recognised(value: bytes, reason: str, words: str) -> None:
    verdict = validate(make_record(value))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == reason
    assert words in verdict.message


@pytest.mark.parametrize("value", [b"[]", b'"text"', b"5", b"{}", b'{"op":"c"}', b"x", b"{", b"\xff", b"\0", b"{} x"])
def test_what_looks_like_nothing_known_is_described_by_its_fault_alone(value: bytes) -> None:
    verdict = validate(make_record(value))
    assert isinstance(verdict, Rejection)
    assert "looks like" not in verdict.message
    assert "; it is" not in verdict.message
