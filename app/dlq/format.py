"""Formats dead letters for terminals and as JSON."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from keepstream.processors.replay.json_edit import indent
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import MAX_TIMESTAMP_MS


def to_row(dead_letter: DeadLetterRecord, state: str | None) -> dict[str, Any]:
    """Return the fields of a dead letter, without payload and headers."""
    record = dead_letter.record
    same = (
        "origin_topic", "origin_partition", "origin_offset", "consumer_group", "event_id", "correlation_id", "key",
        "step", "verdict", "reason", "message", "sqlstate", "attempts", "replay_count", "first_failed_at", "failed_at",
    )  # fmt: skip
    row = {name: getattr(dead_letter, name, None) for name in same}
    ids = {"id": dead_letter.id, "place": dead_letter.record_id, "state": state}
    return ids | row | {"key": text_of(record.key), "timestamp": _time(dead_letter.original_timestamp)}


def _time(timestamp_ms: int) -> datetime | None:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC) if 0 <= timestamp_ms <= MAX_TIMESTAMP_MS else None


def text_of(value: bytes | None) -> str | None:
    """Return bytes as text where they are UTF-8, else as base64 with its prefix."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def pretty(value: bytes | None) -> str:
    """Return a payload for display: JSON indented, its numbers as written; other text as it is, the rest escaped."""
    if value is None:
        return "(no value: a tombstone)"
    try:
        return escape_control_characters(indent(value))
    except (ValueError, RecursionError):
        return escape_control_characters(value.decode(errors="backslashreplace"))


def escape_control_characters(text: str) -> str:
    """Escape control characters, which would move the cursor or change the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def format_time(time: datetime, timespec: str = "milliseconds") -> str:
    return time.isoformat(timespec=timespec).replace("+00:00", "Z")


def one_line(value: object, width: int | None = None) -> str:
    """Return a value as one line, cut to a width."""
    value = format_time(value) if isinstance(value, datetime) else value
    text = "" if value is None else escape_control_characters(str(value)).replace("\n", " ")
    return text if width is None or len(text) <= width else text[: max(0, width - 1)] + "\N{HORIZONTAL ELLIPSIS}"
