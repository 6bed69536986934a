"""The payload of a dead letter for display and editing, and its timeline."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keepstream.app.dlq.format import escape_control_characters, pretty
from keepstream.app.dlq.lookup import failed_field
from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.app.web.masking import Mask
from keepstream.processors.replay.json_edit import indent, reformat, span_of
from keepstream.schemas.dead_letter_record import DeadLetterRecord
from keepstream.schemas.record import MAX_TIMESTAMP_MS

_MARK = "\N{LEFT SEVEN EIGHTHS BLOCK}keepstream mark\N{LEFT SEVEN EIGHTHS BLOCK}"


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload for display. ``lines``: indented JSON; ``wrong``: index of the invalid line."""

    lines: Sequence[str]
    wrong: int | None
    raw: str
    size: int | None
    cut: bool
    masked: bool
    path: str | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An event in the history of a dead letter."""

    at: datetime
    event: str
    detail: str = ""


def payload_of(dead_letter: DeadLetterRecord, mask: Mask, show_bytes: int) -> Payload:
    """Return the payload masked, cut to ``show_bytes``, and with control characters escaped."""
    value, path = dead_letter.record.value, failed_field(dead_letter)
    shown = mask.value(value)
    cut = shown is not None and len(shown) > show_bytes
    shown = shown[:show_bytes] if shown is not None and cut else shown
    lines = pretty(shown).split("\n")
    wrong = None if cut or not path else line_at(shown, path, lines)
    raw = "" if shown is None else escape_control_characters(shown.decode(errors="backslashreplace"))
    size = None if value is None else len(value)
    return Payload(lines, wrong, raw, size, cut, mask.touches(value), path)


def line_at(value: bytes | None, path: str, lines: Sequence[str]) -> int | None:
    """Return the line of a JSON path in the indented form; for a missing field, that of its nearest parent."""
    parts = path.split(".")
    while parts:
        try:
            text = (value or b"").decode()
            start, end = span_of(text, parts)
            marked = indent((text[:start] + json.dumps(_MARK) + text[end:]).encode()).split("\n")
        except (ValueError, LookupError, RecursionError):
            parts.pop()
            continue
        found = next((number for number, line in enumerate(marked) if _MARK in line), None)
        return found if found is not None and found < len(lines) else None
    return 0 if len(lines) > 1 else None


def timeline_of(dead_letter: DeadLetterRecord, known: dict[str, Any]) -> list[TimelineEntry]:
    """Return the history of a dead letter, in order."""
    entries = []
    if dead_letter.original_timestamp >= 0:
        produced = datetime.fromtimestamp(min(dead_letter.original_timestamp, MAX_TIMESTAMP_MS) / 1000, UTC)
        entries.append(TimelineEntry(produced, "Timestamp of the record", dead_letter.origin_topic or ""))
    attempts = dead_letter.attempts or 1
    if dead_letter.first_failed_at and attempts > 1:
        entries.append(TimelineEntry(dead_letter.first_failed_at, "First attempt failed", dead_letter.step or ""))
    if dead_letter.last_failed_at:
        detail = f"{dead_letter.verdict or ''} {dead_letter.reason or ''}".strip()
        entries.append(TimelineEntry(dead_letter.last_failed_at, f"Dead-lettered, attempt {attempts}", detail))
    for row in known["replays"]:
        record_id = f"{row['target_topic']}-{row['target_partition']}-{row['target_offset']}"
        detail = row["error"] or (record_id if row["target_topic"] else "")
        entries.append(
            TimelineEntry(row["updated_at"], f"Replay {row['replay_id']}: {row['state'].replace('_', ' ')}", detail)
        )
    return entries


_FORMS = ((", ", ": "), (",", ":"))


@dataclass(frozen=True, slots=True)
class Draft:
    """Text to edit. ``form``: separators of the original JSON; None when the text is not reformatted."""

    text: str
    form: tuple[str, str] | None


def draft_of(dead_letter: DeadLetterRecord, show_bytes: int) -> Draft:
    """Return the text to edit. Raises `KeepstreamError` when a text field would change it, or it is too large."""
    value = dead_letter.record.value or b""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _unfit("its value is not text") from None
    if len(value) > show_bytes:
        raise _unfit(f"its value is larger than {show_bytes:,} bytes")
    for form, ascii_only in itertools.product(_FORMS, (False, True)):
        if (shown := _indented(text, form, ascii_only=ascii_only)) is not None:
            return Draft(shown, form)
    if any(not (char.isprintable() or char in "\n\t") for char in text):
        raise _unfit("its value has control characters")
    return Draft(text, None)


def edited_value(draft: Draft, text: str) -> bytes | None:
    """Return the edited value, formatted as the original; None when it is unchanged."""
    text = text.replace("\r\n", "\n")  # line ends in form data
    if text == draft.text:
        return None
    if draft.form is not None:
        with contextlib.suppress(ValueError, RecursionError):
            text = reformat(text, draft.form)
    return text.encode(errors="replace")


def _indented(text: str, form: tuple[str, str], *, ascii_only: bool) -> str | None:
    """Return the indented text, if it can be written back without loss: no number may change its notation."""
    try:
        document = json.loads(text)
        if json.dumps(document, separators=form, ensure_ascii=ascii_only) != text:
            return None
        shown = json.dumps(document, indent=2, ensure_ascii=ascii_only)
    except (ValueError, RecursionError):
        return None
    return shown if all(char.isprintable() or char == "\n" for char in shown) else None


def _unfit(why: str) -> KeepstreamError:
    return KeepstreamError(
        "not_editable", f"it cannot be edited here: {why}", "`keepstream dlq replay --edit` can", REFUSED
    )
