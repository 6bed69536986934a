"""Editing a value in a text field without changing what was not edited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keepstream.app.errors import REFUSED, Trouble

if TYPE_CHECKING:
    from keepstream.schemas.dead_letter_record import Buried

_FORMS = ((", ", ": "), (",", ":"))


@dataclass(frozen=True, slots=True)
class Draft:
    """``text`` goes into the field; ``form`` says how the value was written, None where it is shown as it is."""

    text: str
    form: tuple[str, str] | None
    ascii_only: bool = False


def draft_of(letter: Buried, show_bytes: int) -> Draft:
    """Return what to edit. `Trouble` for what a browser's field would change by itself, or that is too large."""
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


def _unfit(why: str) -> Trouble:
    return Trouble("not_editable", f"it cannot be edited here: {why}", "`keepstream dlq replay --edit` can", REFUSED)
