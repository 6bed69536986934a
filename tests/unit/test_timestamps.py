"""Which timestamps the contract takes, and which of two is the newer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keepstream.processors.validation.timestamps import parse_timestamp
from keepstream.processors.validation.validate import validate
from keepstream.schemas.event import Rejection, ValidEvent
from keepstream.schemas.record import Record
from tests.builders import make_record, make_value

SHAPE = "must be RFC 3339 with a zone, like 2026-11-24T10:00:00Z"
CALENDAR = "not a date of the calendar between years 1 and 9999 in UTC"


def record_at(timestamp: object) -> Record:
    return make_record(make_value(timestamp=timestamp))


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-11-24T10:00:00Z",
        "2026-11-24t10:00:00z",
        "2026-11-24 10:00:00Z",
        "2026-11-24T10:00:00+00:00",
        "2026-11-24T10:00:00-00:00",
        "2026-11-24T10:00:00+15:59",
        "2026-11-24T10:00:00-15:59",
        "2026-11-24T10:00:00.1Z",
        "2026-11-24T10:00:00.123456789Z",
        "2026-11-24T10:00:00.123456789+05:30",
        "2026-11-24T10:00Z",
        "2026-11-24T10:00+01:00",
        "2026-11-24T10:00:00+0100",
        "2026-11-24T10:00:00.123456+0000",
        "2026-11-24 10:00:00.123+00",
        "2026-11-24T10:00:00.1234567-09",
        "2024-02-29T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00-12:00",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59+12:00",
    ],
)
def test_a_moment_with_a_zone_is_accepted_as_written(timestamp: str) -> None:
    event = validate(record_at(timestamp))
    assert isinstance(event, ValidEvent), event
    assert event.timestamp == timestamp


@pytest.mark.parametrize(
    ("timestamp", "why"),
    [
        ("2026-11-24T10:00:00", SHAPE),
        ("2026-11-24", SHAPE),
        ("2026-11-24T10:00", SHAPE),
        ("2026-11-24T10Z", SHAPE),
        ("2026-11-24T10:00.5Z", SHAPE),
        ("2026-11-24T1000Z", SHAPE),
        ("2026-11-24T24:00:00Z", SHAPE),
        ("2026-11-24T10:00:60Z", SHAPE),
        ("2026-13-24T10:00:00Z", SHAPE),
        ("2026-11-24T10:00:00+16:00", SHAPE),
        ("2026-11-24T10:00:00+1600", SHAPE),
        ("2026-11-24T10:00:00+010", SHAPE),
        ("2026-11-24T10:00:00+1", SHAPE),
        ("2026-11-24T10:00:00Z[Europe/Paris]", SHAPE),
        ("2026-11-24T10:00:00.Z", SHAPE),
        ("2026-11-24T10:00:00.1234567890Z", SHAPE),
        ("2026-11-24T10:00:00Z\n", SHAPE),
        (" 2026-11-24T10:00:00Z", SHAPE),
        ("20261124T100000Z", SHAPE),
        ("٢026-11-24T10:00:00Z", SHAPE),
        ("now", SHAPE),
        ("infinity", SHAPE),
        ("", SHAPE),
        (1795514400, "must be text like 2026-11-24T10:00:00Z; epoch seconds?"),
        (1795514400000, "must be text like 2026-11-24T10:00:00Z; epoch milliseconds?"),
        (1795514400000.5, "must be text like 2026-11-24T10:00:00Z; epoch milliseconds?"),
        (1795514400000000, "must be text like 2026-11-24T10:00:00Z; epoch microseconds?"),
        (1795514400000000000, "must be text like 2026-11-24T10:00:00Z; epoch nanoseconds?"),
        (7, "must be text like 2026-11-24T10:00:00Z"),
        (10**40, "must be text like 2026-11-24T10:00:00Z"),
        (True, "must be text like 2026-11-24T10:00:00Z"),
        ({}, "must be text like 2026-11-24T10:00:00Z"),
        ("2026-02-30T10:00:00Z", CALENDAR),
        ("2025-02-29T10:00:00Z", CALENDAR),
        ("2026-11-31T10:00:00Z", CALENDAR),
        ("0000-01-01T00:00:00Z", CALENDAR),
        ("0001-01-01T00:30:00+01:00", CALENDAR),
        ("9999-12-31T23:30:00-01:00", CALENDAR),
        ("9999-12-31T23:59:59.9999999Z", CALENDAR),
    ],
)
def test_what_is_not_a_moment_with_a_zone_is_refused(timestamp: object, why: str) -> None:
    verdict = validate(record_at(timestamp))
    assert isinstance(verdict, Rejection), verdict
    assert (verdict.reason, verdict.message) == ("invalid_timestamp", f"timestamp: {why}")


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        (".1Z", 100_000),
        (".1234564Z", 123_456),
        (".1234566Z", 123_457),
        (".000000600z", 1),
        (".0000005Z", 0),
        (".0000015+00:00", 2),
    ],
)
def test_finer_fractions_are_rounded_as_postgresql_rounds_them(text: str, microsecond: int) -> None:
    assert parse_timestamp(f"2026-11-24T10:00:00{text}") == datetime(2026, 11, 24, 10, 0, 0, microsecond, UTC)


def test_a_fraction_that_rounds_up_reaches_the_next_second() -> None:
    assert parse_timestamp("2026-11-24T10:00:59.9999999Z") == datetime(2026, 11, 24, 10, 1, tzinfo=UTC)
