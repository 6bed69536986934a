"""Timestamps of other shapes: numbers since 1970, and text without a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstream.processors.mapping.timestamps import Format, timestamp_reader
from keepstream.processors.validation.timestamps import parse_timestamp


@pytest.mark.parametrize(
    ("form", "found", "text"),
    [
        ("epoch_s", 1764000000, "2025-11-24T16:00:00Z"),
        ("epoch_s", 1764000000.25, "2025-11-24T16:00:00.250000000Z"),
        ("epoch_s", "1764000000.123456789", "2025-11-24T16:00:00.123456789Z"),
        ("epoch_ms", 1764000000123, "2025-11-24T16:00:00.123Z"),
        ("epoch_ms", "1764000000123", "2025-11-24T16:00:00.123Z"),
        ("epoch_ms", 1764000000123.5, "2025-11-24T16:00:00.123500000Z"),
        ("epoch_us", 1764000000123456, "2025-11-24T16:00:00.123456Z"),
        ("epoch_ns", 1764000000123456789, "2025-11-24T16:00:00.123456789Z"),
        ("epoch_ms", -1, "1969-12-31T23:59:59.999Z"),
        ("epoch_ms", 0, "1970-01-01T00:00:00Z"),
        ("epoch_ms", 999_999_999, "1970-01-12T13:46:39.999Z"),
        ("epoch_ms", 10_000_000_000, "1970-04-26T17:46:40Z"),
        ("epoch_s", 1_000_000, "1970-01-12T13:46:40Z"),
    ],
)
def test_numbers_since_1970_are_exact(form: Format, found: object, text: str) -> None:
    assert timestamp_reader(form, None)(found) == text


MISREAD = datetime(1970, 4, 27, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda when: not datetime.fromtimestamp(0, UTC) <= when < MISREAD))
def test_any_time_survives_each_unit(when: datetime) -> None:
    micros = (when - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    forms: list[tuple[Format, int]] = [("epoch_us", micros), ("epoch_ns", micros * 1000)]
    for form, number in forms:
        assert parse_timestamp(timestamp_reader(form, None)(number)) == when


@pytest.mark.parametrize(
    ("form", "found", "words"),
    [
        ("epoch_s", 1764000000123, "beyond the year 9999; epoch milliseconds?"),
        ("epoch_ms", 1764000000123456789, "beyond the year 9999; epoch nanoseconds?"),
        ("epoch_ms", 10**400, "beyond the year 9999"),
        ("epoch_ms", 1764000000, "would be 1970-01-21T10:00:00Z as epoch_ms; epoch seconds?"),
        ("epoch_ms", "1764000000", "would be 1970-01-21T10:00:00Z as epoch_ms; epoch seconds?"),
        ("epoch_ms", 1764000000.5, "would be 1970-01-21T10:00:00Z as epoch_ms; epoch seconds?"),
        ("epoch_ms", 1_000_000_000, "would be 1970-01-12"),
        ("epoch_ms", 9_999_999_999, "would be 1970-04-26"),
        ("epoch_us", 1764000000123, "would be 1970-01-21T10:00:00Z as epoch_us; epoch milliseconds?"),
        ("epoch_us", 1764000000, "would be 1970-01-01T00:29:24Z as epoch_us; epoch seconds?"),
        ("epoch_ns", 1764000000123456, "would be 1970-01-21T10:00:00Z as epoch_ns; epoch microseconds?"),
        ("epoch_ns", "1764000000123", "would be 1970-01-01T00:29:24Z as epoch_ns; epoch milliseconds?"),
        ("epoch_s", "1e999999999", "no time of the calendar"),
        ("epoch_s", float("inf"), "no time of the calendar"),
        ("epoch_s", "NaN", "no time of the calendar"),
        ("epoch_ms", "2026-11-24T10:00:00Z", "must be a number since 1970"),
        ("epoch_ms", True, "must be a number since 1970"),
        ("epoch_ms", {}, "must be a number since 1970"),
        ("rfc3339", 1764000000123, "must be text like 2026-11-24T10:00:00Z; epoch milliseconds?"),
        ("rfc3339", 1764000000, "must be text like 2026-11-24T10:00:00Z; epoch seconds?"),
        ("rfc3339", False, "must be text"),
    ],
)
def test_what_is_no_such_time_is_refused(form: Format, found: object, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        timestamp_reader(form, None)(found)


@pytest.mark.parametrize(
    ("zone", "found", "text"),
    [
        ("UTC", "2026-11-24T10:00:00", "2026-11-24T10:00:00Z"),
        ("UTC", "2026-11-24 10:00:00.123456789", "2026-11-24T10:00:00.123456789Z"),
        ("Europe/Paris", "2026-11-24T10:00", "2026-11-24T09:00:00Z"),
        ("Europe/Paris", "2026-07-24T10:00:00.5", "2026-07-24T08:00:00.5Z"),
        ("Europe/Paris", "1900-01-01T00:00:00", "1899-12-31T23:50:39Z"),
        ("+05:30", "2026-11-24T10:00:00", "2026-11-24T04:30:00Z"),
        ("-01:00", "2026-11-24T10:00:00", "2026-11-24T11:00:00Z"),
        ("UTC", "2026-11-24T10:00:00+02:00", "2026-11-24T10:00:00+02:00"),
        ("UTC", "2026-02-30T10:00:00", "2026-02-30T10:00:00"),
        ("+05:30", "0001-01-01T00:00:00", "0001-01-01T00:00:00"),
        ("UTC", "tomorrow", "tomorrow"),
    ],
)
def test_text_without_a_zone_is_taken_in_the_given_one(zone: str, found: str, text: str) -> None:
    assert timestamp_reader("rfc3339", zone)(found) == text


@pytest.mark.parametrize("zone", ["Mars/North", "", "+25:00", "../etc/passwd", "CET\0"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        timestamp_reader("rfc3339", zone)
