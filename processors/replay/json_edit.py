"""Sets values in JSON text: numbers, escapes, blanks and repeated names elsewhere stay as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from keepstream.schemas.json_text import SYMBOL, indent_json

_BLANK = re.compile(r"[ \t\n\r]*")


class RepeatedNameError(ValueError):
    """Raised when an object on the path has a name more than once, so that the path names no single value."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
"""Parses no number: it may have more digits, or a larger exponent, than Python's types hold."""


def json_text(text: str) -> str:
    """Return the text where it is JSON, else as a JSON string."""
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    return text


def set_path(text: str, path: str, value: str) -> str:
    """Return the JSON text with the JSON ``value`` at a dotted path (list items by number); objects get a new member.

    Raises ValueError or RecursionError when the text is not JSON, LookupError when the path leads nowhere, and
    RepeatedNameError.
    """
    _DECODER.decode(text)
    *parents, last = path.split(".")
    start, end = span_of(text, parents)
    try:
        first, after = span_of(text, [*parents, last])
    except LookupError:
        if text[start] != "{":
            raise
        members = text[: end - 1].rstrip()
        comma = "" if len(members) == start + 1 else ","
        return f"{members}{comma}{json.dumps(last, ensure_ascii=False)}:{value}{text[len(members) :]}"
    return text[:first] + value + text[after:]


def span_of(text: str, path: Sequence[str]) -> tuple[int, int]:
    """Return where the value at a path starts and ends in a JSON text. Raises LookupError and RepeatedNameError."""
    start = _skip_blanks(text, 0)
    end = _DECODER.raw_decode(text, start)[1]
    for name in path:
        found = [(first, after) for member, first, after in _members(text, start) if member == name]
        if len(found) > 1:
            raise RepeatedNameError(name)
        if not found:
            raise LookupError(name)
        start, end = found[0]
    return start, end


def indent(value: bytes) -> str:
    """Return JSON in UTF-8, without a byte order mark, with one member per line. Raises as `set_path` does."""
    text = value.decode()
    _DECODER.decode(text)
    return indent_json(text)


def reformat(text: str, separators: tuple[str, str]) -> str:
    """Return JSON text on one line, with these separators of members and of names. Raises as `set_path` does."""
    _DECODER.decode(text)
    written = dict(zip(",:", separators, strict=True))
    return "".join(written.get(part, part) for part in SYMBOL.findall(text))


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Yield name (of a list item: its number), start and end of each member of the value at a position."""
    if text[at] not in "{[":
        return
    is_object, number, at = text[at] == "{", 0, _skip_blanks(text, at + 1)
    while text[at] not in "}]":
        name = str(number)
        if is_object:
            name, at = _DECODER.raw_decode(text, at)
            at = _skip_blanks(text, _skip_blanks(text, at) + 1)
        end = _DECODER.raw_decode(text, at)[1]
        yield name, at, end
        at, number = _skip_blanks(text, end), number + 1
        if text[at] == ",":
            at = _skip_blanks(text, at + 1)


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
