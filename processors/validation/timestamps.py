"""Timestamps of events: text by RFC 3339 that the contract's pattern has accepted. PostgreSQL compares them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EDGE_YEARS = frozenset(("0001", "9999"))
"""Years in which a timestamp's offset may lead out of the calendar."""
_FINER_THAN_US = re.compile(r"\.[0-9]{7,9}")
_LONGEST_IN_US_AND_UTC = len("2026-11-24T10:00:00.123456Z")
"""Longer text has an offset, or digits finer than PostgreSQL's microseconds."""


def parse_timestamp(timestamp: str) -> datetime:
    """Parse a timestamp that matched the contract's pattern, rounding to microseconds as PostgreSQL does.

    Raises ValueError or OverflowError for a date that the calendar does not have.
    """
    finer = _FINER_THAN_US.search(timestamp) if len(timestamp) > _LONGEST_IN_US_AND_UTC else None
    if finer is None:
        return datetime.fromisoformat(timestamp.upper())
    whole = datetime.fromisoformat((timestamp[: finer.start()] + timestamp[finer.end() :]).upper())
    return whole + timedelta(microseconds=round(float(finer.group()) * 1_000_000))


def is_in_calendar(timestamp: str) -> bool:
    """Return whether it is a date of the calendar between years 1 and 9999 in UTC."""
    if timestamp[:4] not in _EDGE_YEARS:
        try:
            datetime.fromisoformat(timestamp)
        except ValueError:
            pass  # lower case, or no such day: parsed exactly below
        else:
            return True
    try:
        parse_timestamp(timestamp).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True
