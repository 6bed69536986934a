"""A payload to look at: pretty with the line that the error is about, raw, and what happened to it when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keepstream.app.dlq.format import pretty, visible
from keepstream.app.dlq.lookup import failed_field
from keepstream.app.errors import REFUSED, KeepstreamError
from keepstream.app.web.masking import Mask
from keepstream.schemas.dead_letter_record import DeadLetterRecord

_MARK = "\N{LEFT SEVEN EIGHTHS BLOCK}keepstream mark\N{LEFT SEVEN EIGHTHS BLOCK}"
_MAX_MS = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class Payload:
    """``lines`` are the pretty form; ``wrong`` is the index of the line that the error is about."""

    lines: Sequence[str]
    wrong: int | None
    raw: str
    size: int | None
    cut: bool
    masked: bool
    path: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a letter."""

    at: datetime
    what: str
    detail: str = ""


def payload_of(letter: DeadLetterRecord, mask: Mask, show_bytes: int) -> Payload:
    """Make a payload showable: masked, cut, and every character that could do something escaped."""
    value, path = letter.record.value, failed_field(letter)
    shown = mask.value(value)
    cut = shown is not None and len(shown) > show_bytes
    shown = shown[:show_bytes] if shown is not None and cut else shown
    lines = pretty(shown).split("\n")
    wrong = None if cut or not path else line_at(shown, path, lines)
    raw = "" if shown is None else visible(shown.decode(errors="backslashreplace"))
    size = None if value is None else len(value)
    return Payload(lines, wrong, raw, size, cut, mask.touches(value), path)


def line_at(value: bytes | None, path: str, lines: Sequence[str]) -> int | None:
    """Return which line of the pretty form a path leads to; where it leads nowhere, its nearest parent's."""
    parts = path.split(".")
    while parts:
        try:
            document = json.loads(value or b"")
            _put_mark(document, parts)
            marked = json.dumps(document, indent=2, ensure_ascii=False).split("\n")
        except (ValueError, LookupError, TypeError, RecursionError):
            parts.pop()
            continue
        found = next((number for number, line in enumerate(marked) if _MARK in line), None)
        return found if found is not None and found < len(lines) else None
    return 0 if len(lines) > 1 else None


def _put_mark(document: Any, parts: Sequence[str]) -> None:  # noqa: ANN401
    *parents, last = parts
    for part in parents:
        document = document[int(part)] if isinstance(document, list) else document[part]
    key: Any = int(last) if isinstance(document, list) else last
    document[key]  # raises where there is nothing: setting it would make it
    document[key] = _MARK


def timeline_of(letter: DeadLetterRecord, known: dict[str, Any]) -> list[Moment]:
    """Return what is known to have happened, in order."""
    moments = []
    if letter.record.timestamp >= 0:
        produced = datetime.fromtimestamp(min(letter.record.timestamp, _MAX_MS) / 1000, UTC)
        moments.append(Moment(produced, "Timestamp of the record", letter.origin_topic or ""))
    attempts = letter.attempts or 1
    if letter.first_failed_at and attempts > 1:
        moments.append(Moment(letter.first_failed_at, "First attempt failed", letter.step or ""))
    if letter.last_failed_at:
        detail = f"{letter.verdict or ''} {letter.reason or ''}".strip()
        moments.append(Moment(letter.last_failed_at, f"Dead-lettered, attempt {attempts}", detail))
    for row in known["replays"]:
        place = f"{row['target_topic']}-{row['target_partition']}-{row['target_offset']}"
        detail = place if row["target_topic"] else ""
        moments.append(
            Moment(row["updated_at"], f"Replay {row['replay_id']}: {row['state'].replace('_', ' ')}", detail)
        )
    return moments


_FORMS = ((", ", ": "), (",", ":"))


@dataclass(frozen=True, slots=True)
class Draft:
    """``text`` goes into the field; ``form`` says how the value was written, None where it is shown as it is."""

    text: str
    form: tuple[str, str] | None
    ascii_only: bool = False


def draft_of(letter: DeadLetterRecord, show_bytes: int) -> Draft:
    """Return the text to edit. `KeepstreamError` when a browser's text field would change it, or it is too large."""
    value = letter.record.value or b""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _unfit("its value is not text") from None
    if len(value) > show_bytes:
        raise _unfit(f"its value is larger than {show_bytes:,} bytes")
    for form in _FORMS:
        for ascii_only in (False, True):
            if _indented(text, form, ascii_only=ascii_only) is not None:
                return Draft(_indented(text, form, ascii_only=ascii_only) or "", form, ascii_only)
    if any(not (char.isprintable() or char in "\n\t") for char in text):
        raise _unfit("its value holds control characters")
    return Draft(text, None)


def edited_value(draft: Draft, text: str) -> bytes | None:
    """Return the value that goes out, written as the old one was; None when nothing was changed."""
    text = text.replace("\r\n", "\n")  # what a form makes of line ends
    if text == draft.text:
        return None
    if draft.form is not None:
        try:
            document = json.loads(text)
            return json.dumps(document, separators=draft.form, ensure_ascii=draft.ascii_only).encode()
        except (ValueError, RecursionError):
            pass
    return text.encode(errors="replace")


def _indented(text: str, form: tuple[str, str], *, ascii_only: bool) -> str | None:
    """Return the text indented, if it can be written back without losing anything: no number changes its shape."""
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
