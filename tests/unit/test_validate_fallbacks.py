"""What validate fills in where the producer wrote nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Rejection, ValidEvent
from tests.builders import AT, make_record, make_value

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01".encode()
MISSING: Any = ...


def completed(value: bytes, **record: Any) -> ValidEvent:
    event = validate(make_record(value, **record))
    assert isinstance(event, ValidEvent), event
    document = json.loads(event.document)
    assert (document["timestamp"], document["correlation_id"]) == (event.timestamp, event.correlation_id)
    return event


def correlation(*headers: tuple[str, bytes | None], given: Any = MISSING) -> str:
    return completed(make_value(event_id="e", correlation_id=given), headers=headers).correlation_id


def test_what_the_producer_wrote_wins() -> None:
    headers = [("correlation_id", b"h"), ("traceparent", TRACEPARENT)]
    event = completed(make_value(correlation_id="mine"), headers=headers, timestamp=0)
    assert (event.timestamp, event.correlation_id) == (AT, "mine")


@pytest.mark.parametrize("given", [MISSING, None, ""])
def test_an_absent_correlation_id_comes_from_the_header_then_the_trace_then_the_event(given: Any) -> None:
    header, trace = ("correlation_id", b"h"), ("traceparent", TRACEPARENT)
    assert correlation(trace, header, given=given) == "h"
    assert correlation(trace, given=given) == TRACE
    assert correlation(given=given) == "e"


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"x" * 256, b"a\0b"])
def test_a_header_that_no_column_could_hold_is_passed_over(value: bytes | None) -> None:
    assert correlation(("correlation_id", value), ("traceparent", TRACEPARENT)) == TRACE


def test_the_last_of_repeated_headers_counts() -> None:
    assert correlation(("correlation_id", b"first"), ("correlation_id", b"last")) == "last"


def test_quotes_in_a_header_stay_text() -> None:
    assert correlation(("correlation_id", b'","event_id":"injected')) == '","event_id":"injected'


@pytest.mark.parametrize(
    "traceparent",
    [
        b"",
        b"nonsense",
        b"00-short-00f067aa0ba902b7-01",
        TRACEPARENT + b"-extra",
        b"00-" + b"z" * 32 + b"-00f067aa0ba902b7-01",
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-" + b"\0" * 32 + b"-00f067aa0ba902b7-01",
    ],
)
def test_a_traceparent_without_a_trace_id_is_passed_over(traceparent: bytes) -> None:
    assert correlation(("traceparent", traceparent)) == "e"


@pytest.mark.parametrize("given", [MISSING, None])
@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000+00:00"),
        (1_795_514_400_123, "2026-11-24T10:00:00.123+00:00"),
        (10_000_000_000_123, "2286-11-20T17:46:40.123+00:00"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999+00:00"),
    ],
)
def test_an_absent_timestamp_is_the_records_own_to_the_millisecond(
    milliseconds: int, expected: str, given: Any
) -> None:
    assert completed(make_value(timestamp=given), timestamp=milliseconds).timestamp == expected


@pytest.mark.parametrize("milliseconds", [-1, -(10**15), 253_402_300_800_000, 2**63 - 1])
def test_without_any_usable_timestamp_the_event_is_refused(milliseconds: int) -> None:
    verdict = validate(make_record(make_value(timestamp=...), timestamp=milliseconds))
    assert isinstance(verdict, Rejection)
    assert verdict.reason == "invalid_timestamp"
    assert verdict.message == "timestamp: absent, and the record's own Kafka timestamp is out of range"
