"""Bounded decompression: the codecs of Kafka, which refuse what decompresses to more than a limit.

A batch is decompressed whole before its first record is read, and a megabyte of zstd can be gigabytes; neither
aiokafka's codecs nor the broker limit that.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import cramjam

_BLOCK_LENGTH = struct.Struct(">i")
# snappy-java's framing, which Kafka's clients write: this, then blocks, each behind its length.
_XERIAL_HEADER = struct.pack(">b7sii", -126, b"SNAPPY\0", 1, 1)


class DecompressionLimitError(ValueError):
    """Raised for a batch that cannot be decompressed within the limit."""


@dataclass(frozen=True, slots=True)
class BoundedDecompressor:
    """The codecs of Kafka, decompressing into one buffer, of which only used pages take memory."""

    limit_bytes: int
    _buffer: mmap.mmap = field(init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_buffer", mmap.mmap(-1, self.limit_bytes))

    def gzip(self, payload: Any) -> bytes:  # noqa: ANN401
        return self._unpack(cramjam.gzip.decompress_into, payload)

    def lz4(self, payload: Any) -> bytes:  # noqa: ANN401
        return self._unpack(cramjam.lz4.decompress_into, payload)

    def zstd(self, payload: Any) -> bytes:  # noqa: ANN401
        return self._unpack(cramjam.zstd.decompress_into, payload)

    def snappy(self, payload: Any) -> bytes:  # noqa: ANN401
        """Decompress snappy, whose blocks name their length beforehand, in either of its framings."""
        try:
            blocks = [*_snappy_blocks(payload)]
            if sum(map(cramjam.snappy.decompress_raw_len, blocks)) > self.limit_bytes:
                raise DecompressionLimitError(f"snappy: more than {self.limit_bytes} bytes")
            return b"".join(map(cramjam.snappy.decompress_raw, blocks))
        except (cramjam.DecompressionError, struct.error) as error:
            raise DecompressionLimitError(f"snappy: {error}") from None

    def _unpack(self, into: Callable[[Any, Any], int], payload: Any) -> bytes:  # noqa: ANN401
        with self._lock:
            try:
                return self._buffer[: into(payload, self._buffer)]
            except cramjam.DecompressionError as error:
                raise DecompressionLimitError(str(error)) from None


def _snappy_blocks(payload: Any) -> Iterator[Any]:  # noqa: ANN401
    view = memoryview(payload)
    if len(view) <= len(_XERIAL_HEADER) or bytes(view[: len(_XERIAL_HEADER)]) != _XERIAL_HEADER:
        yield view
        return
    at = len(_XERIAL_HEADER)
    while at < len(view):
        (length,) = _BLOCK_LENGTH.unpack_from(view, at)
        if length < 0:
            raise DecompressionLimitError("snappy: a block of negative length")  # aiokafka would not terminate
        at += _BLOCK_LENGTH.size
        yield view[at : at + length]
        at += length
