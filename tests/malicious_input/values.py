"""JSON that tries to do harm: a list of our own, and the files of JSONTestSuite.

Each text is meant to be tried as a record's whole value, as a payload, and as a value inside a payload.
"""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

_STRINGS = [
    rb'"\u0000"', rb'"\\u0000"', rb'"\\\u0000"', rb'"\\\\u0000"', rb'"a\u0000b"', b'"\x00"', b'"\x1f"', b'"\x7f"',
    rb'"\ud800"', rb'"\udc00"', rb'"\ud800\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\uD83D\uDE00"',
    rb'"\ud800x"', rb'"\ud800\u0041"', rb'"\uffff"', rb'"\ufdd0"', rb'"\u202e"', rb'"\u12"', rb'"\u00g0"', rb'"\x41"',
    b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\xff"', b'"\xe2\x82"',
    '"\N{ZERO WIDTH SPACE}"'.encode(),
    b'"NaN"', b'"Infinity"', b'"}"', b'"{[{["', rb'"\""', rb'"\\"', rb'"\/"', b'"', b'"\n"', b"'single'",
    b'"' + b"x" * 9000 + b'"', '"\N{GRINNING FACE}"'.encode(), b'""',
]  # fmt: skip
_NUMBERS = [
    b"NaN", b"Infinity", b"-Infinity", b"-NaN", b"nan", b"-", b"+1", b".5", b"5.", b"01", b"-0", b"-0.0", b"0e0",
    b"1e5", b"1E+5", b"1e", b"1e400", b"1e-400", b"1e131071", b"1e131072", b"1e-16383", b"1e-16384", b"0e-16384",
    b"0.0e-16384", b"0e131072", b"0e999999999", b"1e999999999999999999999", b"1e-999999999999999999999",
    b"0e0000000000000000001", b"9" * 4300, b"9" * 4301, b"0." + b"1" * 16383, b"0." + b"1" * 16384,
    b"18446744073709551616", b"-9223372036854775809", b"0x10", b"1_000", b"1e1.5", b"1 2",
]  # fmt: skip
_SHAPES = [
    b"{}", b"[]", b"null", b"true", b"True", b"{,}", b"[,]", b"[1,]", b'{"a":1,}', b'{"a"}', b'{"a":}', b"{a:1}",
    b'{"a":1,"a":2}', b'{"":0}', rb'{"\u0000":0}', rb'{"a":NaN,"a":1}', b"[" * 70 + b"]" * 70, b"[" * 60 + b"]" * 60,
    b'{"a":' * 70 + b"1" + b"}" * 70, b"[" * 100_000, b"[[]", b"[]]", b"{}}", b'{}{"event_id":"x"}', b"/* no */ 1",
    b"1 // no", b"\xef\xbb\xbf{}", b"\x00", b" ", b"\n", b'{"@offset":-1}', b'{"__proto__":{}}', b"{\x0c}",
    b'1},"event_id":"injected"', b'1},"payload":{}', '{"a":1}\N{NO-BREAK SPACE}'.encode(), b"\xfe\xff\x00{\x00}",
]  # fmt: skip

HOSTILE: tuple[bytes, ...] = (*_STRINGS, *_NUMBERS, *_SHAPES)


def corpus(kind: str = "") -> list[bytes]:
    """Return the files of one kind: ``y_`` is valid JSON, ``n_`` is not."""
    found = [path.read_bytes() for path in sorted(CORPUS.glob(f"{kind}*.json"))]
    assert found, "the corpus is part of the repository"
    return found


def as_payload(text: bytes, event_id: str = "hostile") -> bytes:
    """Put a text where a payload's value belongs."""
    return b'{"event_id":"%b","payload":{"x":%b}}' % (event_id.encode(), text)


def as_whole_payload(text: bytes, event_id: str = "hostile") -> bytes:
    """Put a text where the payload belongs."""
    return b'{"event_id":"%b","payload":%b}' % (event_id.encode(), text)
