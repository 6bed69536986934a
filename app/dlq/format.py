"""A dead letter for people and for pipes."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from keepstream.schemas.dead_letter_record import DeadLetterRecord


def to_row(letter: DeadLetterRecord, state: str | None) -> dict[str, Any]:
    """Return what is known of a letter, without payload and headers."""
    record = letter.record
    return {
        "id": letter.id, "place": letter.record_id, "state": state,
        "origin_topic": letter.origin_topic, "origin_partition": letter.origin_partition,
        "origin_offset": letter.origin_offset,
        "event_id": letter.event_id, "correlation_id": letter.correlation_id, "key": text_of(record.key),
        "step": letter.step, "verdict": letter.verdict, "reason": letter.reason, "message": letter.message,
        "sqlstate": letter.sqlstate, "attempts": letter.attempts, "replay_count": letter.replay_count,
        "first_failed_at": letter.first_failed_at, "failed_at": letter.failed_at, "timestamp": record.timestamp,
    }  # fmt: skip


def text_of(value: bytes | None) -> str | None:
    """Return bytes as text where they are UTF-8, else as base64 with its prefix."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def pretty(value: bytes | None) -> str:
    """Return a payload to be looked at: JSON indented, other text as it is, the rest escaped."""
    if value is None:
        return "(no value: a tombstone)"
    try:
        return visible(json.dumps(json.loads(value), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return visible(value.decode(errors="backslashreplace"))


def visible(text: str) -> str:
    """Escape what would move the cursor or change the terminal: payloads come from anywhere."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def format_time(moment: datetime, timespec: str = "milliseconds") -> str:
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def one_line(value: object, width: int | None = None) -> str:
    """Return a value as one line, cut to a width."""
    value = format_time(value) if isinstance(value, datetime) else value
    text = "" if value is None else visible(str(value)).replace("\n", " ")
    return text if width is None or len(text) <= width else text[: max(0, width - 1)] + "\N{HORIZONTAL ELLIPSIS}"
