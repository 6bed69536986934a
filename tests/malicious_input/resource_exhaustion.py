"""Values made to cost whoever looks at them as much as possible for their size."""

from __future__ import annotations

from keepstream.schemas.event import MAX_VALUE_BYTES

BRACKETS = b"[" * 65
"""Enough to make the depth be looked at."""


def filled(size: int, begin: bytes, repeated: bytes, end: bytes = b"") -> bytes:
    """Repeat the middle until the size is reached."""
    return begin + repeated * ((size - len(begin) - len(end)) // len(repeated)) + end


def bombs(size: int = MAX_VALUE_BYTES) -> dict[str, bytes]:
    """Return bombs by name, each of about ``size`` bytes; by default of the largest that is accepted."""
    return {
        "opening brackets": filled(size, b"", b"["),
        "opening braces": filled(size, b"", b'{"a":'),
        "deep, and closed": b"[" * (size // 2) + b"]" * (size // 2),
        "a deep payload": b'{"event_id":"e","payload":' + b'{"a":' * (size // 8) + b"1" + b"}" * (size // 8 + 1),
        "closing before opening": filled(size, b"]" * 1000, b"["),
        "empty lists": filled(size, b'{"event_id":"e","payload":{"x":[', b"[],", b"[]]}}"),
        "brackets in a string": filled(size, b'{"event_id":"e","payload":{"x":"', b"[{", b'"}}'),
        "a string that never ends": filled(size, BRACKETS + b'"', b"x"),
        "escaped quotes that never end": filled(size, BRACKETS + b'"', b'\\"'),
        "escaped quotes that never end, then half an escape": filled(size, BRACKETS + b'"', b'\\"', b"\\"),
        "backslashes that never end": filled(size, BRACKETS + b'"', b"\\"),
        "quotes": filled(size, BRACKETS, b'"'),
        "empty strings": filled(size, BRACKETS, b'"",'),
        "backslashes before an escape": filled(size, b'{"event_id":"e","payload":{"x":"', b"\\\\", b'\\u0000"}}'),
        "escapes of backslash and zero": filled(size, b'{"event_id":"e","payload":{"x":"', b"\\\\u0000", b'"}}'),
        "NUL characters": filled(size, b'{"event_id":"e","payload":{"x":"', b"\\u0000", b'"}}'),
        "a long number": filled(size, b'{"event_id":"e","payload":{"x":', b"9", b"}}"),
        "a long fraction": filled(size, b'{"event_id":"e","payload":{"x":0.', b"9", b"}}"),
        "a long exponent": filled(size, b'{"event_id":"e","payload":{"x":1e', b"0", b"1}}"),
        "many numbers": filled(size, b'{"event_id":"e","payload":{"x":[', b"1,", b"1]}}"),
        "many keys": b'{"event_id":"e","payload":{' + b",".join(b'"%d":0' % i for i in range(size // 12)) + b"}}",
        "one key again and again": filled(size, b'{"event_id":"e","payload":{', b'"a":0,', b'"a":1}}'),
        "the envelope's keys again and again": filled(size, b"{", b'"event_id":"e",', b'"payload":{}}'),
        "spaces": filled(size, b'{"event_id":"e","payload":{}', b" ", b"}"),
        "a long event_id": filled(size, b'{"payload":{},"event_id":"', b"x", b'"}'),
        "a long timestamp": filled(
            size, b'{"event_id":"e","payload":{},"timestamp":"2026-11-24T10:00:00.', b"0", b'Z"}'
        ),
        "surrogates in halves": filled(size, b'{"event_id":"e","payload":{"x":"', b"\\ud800", b'"}}'),
        "zero bytes": bytes(size),
    }
