"""Valid JSON that jsonb cannot store, or not write again: exactly PostgreSQL's own limits.

The limits of ``numeric`` are those of PostgreSQL's documentation, 8.1.2: 131072 digits before the decimal point, 16383
after it. `tests/contract/test_validate_against_postgres.py` compares with a real server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate

# Possessive quantifiers, and the end of the input as an end: linear time on unterminated strings.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TOKEN = re.compile(_STRING + rb"|-?[0-9][0-9.eE+-]*|-?(?:NaN|Infinity)", re.DOTALL)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_WHOLE_STRING = re.compile(_STRING, re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_NUMBER = re.compile(rb"-?([0-9]+)(?:\.([0-9]*))?(?:[eE]([+-]?)0*([0-9]+))?")

_MAX_DIGITS_AFTER_POINT = 16383
_MAX_DECIMAL_EXPONENT = 131071
_MAX_WRITTEN_EXPONENT = 2**30 - 2  # PostgreSQL 15 refuses 2**30 - 1, later versions take it
_MAX_EXPONENT_DIGITS = 12

MAX_WRITTEN_DIGITS = 1024 * 1024
"""Limit of all numbers of an event together, as PostgreSQL writes them: ``1e131071`` has 8 bytes here, 131,072 there. A
row whose text exceeds 1 GB can be stored, but not read, dumped or replicated."""
_EXPONENT_SHAPE = bytes(ord("0") if byte in b"0123456789" else ord("E") if byte in b"eE" else 32 for byte in range(256))
_LONG_EXPONENT = b"0E000"
_LONGEST_NUMBER = _MAX_DECIMAL_EXPONENT + 1 + _MAX_DIGITS_AFTER_POINT


def find_unwritable(document: bytes) -> tuple[str, str] | None:
    """Return (reason, message) when the numbers of payload and metadata are too long written out, or None.

    Exponents of one or two digits make a number at most 20 times as long and are not counted. Few events have more
    than seven longer ones, and fewer cannot reach the limit: for one of 360 bytes the count costs 0.5 us.
    """
    if document.translate(_EXPONENT_SHAPE, b"+-").count(_LONG_EXPONENT) <= MAX_WRITTEN_DIGITS // _LONGEST_NUMBER:
        return None
    found = json.loads(document, parse_float=_WrittenLength.of, parse_int=str)
    digits = {field: sum(_written_lengths(found.get(field))) for field in ("payload", "metadata")}
    if sum(digits.values()) <= MAX_WRITTEN_DIGITS:
        return None
    field = max(digits, key=lambda name: digits[name])
    return "number_out_of_range", (
        f"{field}: its numbers have {digits[field]:,} digits when PostgreSQL writes them without exponents; at most "
        f"{MAX_WRITTEN_DIGITS:,} are accepted"
    )


class _WrittenLength(int):
    """Number of digits of a number with a point or an exponent when it is written without the exponent."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> _WrittenLength:
        match = _NUMBER.fullmatch(text.encode())
        if match is None or not ((match[1] + (match[2] or b"")).strip(b"0")):
            return cls(len(text))
        exponent = int((match[3] or b"") + (match[4] or b"0")[:_MAX_EXPONENT_DIGITS])
        return cls(max(len(match[1]) + exponent, 1) + max(len(match[2] or b"") - exponent, 0))


def _written_lengths(value: object) -> Iterator[int]:
    if isinstance(value, _WrittenLength):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _written_lengths(inner)


_UNHOLDABLE = (rb"\u0000", b"NaN", b"Infinity")
_HUGE_EXPONENT = b"0E00000"
_SHORT_BYTES = 4096
"""Shorter numbers exceed the limits of ``numeric`` only by an exponent of five digits or more."""


def _may_be_unholdable(document: bytes) -> bool:
    """Return False where no value can be one that jsonb cannot store: a tenth of the time of looking at each token."""
    return (
        len(document) > _SHORT_BYTES
        or any(text in document for text in _UNHOLDABLE)
        or _HUGE_EXPONENT in document.translate(_EXPONENT_SHAPE, b"+-")
    )


def unholdable(document: bytes) -> tuple[str, str] | None:
    """Return (reason, message) for the first value that jsonb cannot store, or None.

    The document must be valid JSON except for NaN and Infinity, which pydantic lets through.
    """
    if not _may_be_unholdable(document):
        return None
    for token in _TOKEN.finditer(document):
        text = token.group()
        if text[0] == ord('"'):
            if b"\\u0000" in text and _NUL.search(text):
                return "nul_character", r"a string contains the character \u0000, which PostgreSQL cannot store"
        elif text[-1] in b"Ny":
            return "not_finite_number", "NaN and Infinity are not JSON numbers"
        elif not _fits_numeric(text):
            return "number_out_of_range", "a number has more digits than PostgreSQL's numeric can store"
    return None


def depth(value: bytes) -> int:
    """Return the nesting depth of arrays and objects; brackets in strings do not count."""
    brackets = _WHOLE_STRING.sub(b"", value).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _fits_numeric(text: bytes) -> bool:
    if len(text) < _MAX_DIGITS_AFTER_POINT and b"e" not in text and b"E" not in text:
        return True
    match = _NUMBER.fullmatch(text)
    if match is None:
        return True  # not a number by JSON's grammar: refused elsewhere
    whole, fraction, sign, written = match[1], match[2] or b"", match[3] or b"", match[4] or b"0"
    if len(written) > _MAX_EXPONENT_DIGITS or int(written) > _MAX_WRITTEN_EXPONENT:
        return False
    exponent = int(sign + written)
    if len(fraction) - exponent > _MAX_DIGITS_AFTER_POINT:
        return False
    significant = (whole + fraction).lstrip(b"0")
    return not significant or len(significant) - len(fraction) + exponent - 1 <= _MAX_DECIMAL_EXPONENT
