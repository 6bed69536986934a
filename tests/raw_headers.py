"""Records whose header names are not UTF-8: what a client in C, Go or Rust can write, and aiokafka's builder too."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

NOT_TEXT = b"\xff\xfename"


class RawName(str):
    """A header name that travels as the bytes it is not."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return NOT_TEXT


def raw_batch(values: Sequence[tuple[bytes, bool]], base_offset: int = 0, compression: int = 0) -> bytes:
    """Build a record batch; a value that comes with True gets a header of that name."""
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, -1, 10**6)
    for number, (value, raw) in enumerate(values):
        headers = [("first", b"1"), (RawName("raw"), b"2")] if raw else [("first", b"1")]
        assert builder.append(number, 1000 + number, b"k", value, headers)
    built = builder.build()
    built[0:8] = base_offset.to_bytes(8, "big")
    return bytes(built)
