"""Patches of aiokafka: lenient header names, bounded decompression, corrupt batches, no topics created.

A batch is decompressed whole before its first record is read, and a megabyte of zstd can be gigabytes; neither
aiokafka's codecs nor the broker limit that. A batch that cannot be decoded (beyond the limit, corrupt) ends the fetch
of its partition without an error, because an error would skip the records of other partitions in the same fetch. The
error is kept in the consumer's state of the partition (`undecodable`) until the next seek.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import Any

import aiokafka.record._crecords.default_records as compiled
import aiokafka.record._crecords.legacy_records as compiled_legacy
import aiokafka.record.default_records as plain
import cramjam
from aiokafka import client, codec
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

_DEFAULT_MAGIC = 2
NO_TIMESTAMP = -1
"""As in Kafka's own client, for a record of message format v0; aiokafka has None."""
_StrictRecords: Any = fetcher.MemoryRecords
_StrictPartition: Any = fetcher.PartitionRecords
_StrictResult: Any = fetcher.FetchResult


def decode_headers_leniently() -> None:
    """Make aiokafka's fetcher decode header names that are not UTF-8, with escapes, for the whole process."""
    fetcher.MemoryRecords = _KeptRecords
    fetcher.PartitionRecords = PartitionRecords


class _Text(bytearray):
    """A buffer whose slices decode with escapes. There is no better way: aiokafka decodes names inside its parser."""

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401
        found = super().__getitem__(index)
        return _Text(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return bytes(self).decode(encoding, errors)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        if not isinstance(self._buffer, _Text):
            self._buffer = _Text(self._buffer)


class _LenientRecords(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self) -> Any:  # noqa: ANN401
        piece = self._next_slice
        if piece is None or len(piece) < self.MIN_SLICE or piece[self.MAGIC_OFFSET] < _DEFAULT_MAGIC:
            return super().next_batch()
        self._cache_next()
        return _LenientBatch(piece)


class _KeptRecords(_StrictRecords):  # type: ignore[misc]
    """aiokafka's records with their bytes, which its compiled class does not expose."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class PartitionRecords(_StrictPartition):  # type: ignore[misc]
    """aiokafka's records of one partition's fetch, decodable whatever their header names."""

    _tp: Any
    _records: Any
    _aborted_producers: set[int]

    def __init__(self, tp: Any, records: _KeptRecords, aborted_transactions: Any, *rest: Any) -> None:  # noqa: ANN401
        self._aborted_at_first = aborted_transactions
        super().__init__(tp, records, aborted_transactions, *rest)

    def _consumer_record(self, tp: Any, record: Any) -> Any:  # noqa: ANN401
        found = super()._consumer_record(tp, record)
        return replace(found, timestamp=NO_TIMESTAMP) if found.timestamp is None else found

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            yield from self._read_again(self.next_fetch_offset)

    def _read_again(self, begin: int) -> Iterator[Any]:
        """Read the fetch again from its start, with its transactions, and yield the records from ``begin`` on."""
        self._records = _LenientRecords(self._records.data)
        self._aborted_transactions = sorted(self._aborted_at_first or [], key=lambda at: at[1])
        self._aborted_producers = set()
        for record in super()._unpack_records():
            if record.offset >= begin:
                yield record


def create_no_topics() -> None:
    """Keep aiokafka from asking for a topic in a way that lets the broker create it, for the whole process.

    A deleted topic would come back with one partition where ``auto.create.topics.enable`` is on, as it is by default.
    """
    client.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)


_BLOCK_LENGTH = struct.Struct(">i")
_XERIAL_HEADER_BYTES = 16


class DecompressionLimitError(ValueError):
    """Raised for a batch that cannot be decompressed within the limit."""


def limit_decompression(limit_bytes: int) -> None:
    """Make aiokafka refuse batches of more than ``limit_bytes`` decompressed, for the whole process."""
    unpacker = BoundedDecompressor(limit_bytes)
    for module in (compiled, compiled_legacy, plain):
        for name in ("gzip", "snappy", "lz4", "zstd"):
            if hasattr(module, f"{name}_decode"):
                setattr(module, f"{name}_decode", getattr(unpacker, name))
    fetcher.PartitionRecords = _PartitionRecords
    fetcher.FetchResult = _FetchResult


def undecodable(partition_state: Any) -> Exception | None:  # noqa: ANN401
    """Return why the next batch of a partition cannot be decoded, given aiokafka's state of the partition."""
    return getattr(partition_state, "undecodable", None)


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
            if sum(map(cramjam.snappy.decompress_raw_len, _snappy_blocks(payload))) > self.limit_bytes:
                raise DecompressionLimitError(f"snappy: more than {self.limit_bytes} bytes")
            return bytes(codec.snappy_decode(payload))
        except (cramjam.DecompressionError, struct.error) as error:
            raise DecompressionLimitError(f"snappy: {error}") from None

    def _unpack(self, into: Callable[[Any, Any], int], payload: Any) -> bytes:  # noqa: ANN401
        with self._lock:
            try:
                return self._buffer[: into(payload, self._buffer)]
            except cramjam.DecompressionError as error:
                raise DecompressionLimitError(str(error)) from None


class _PartitionRecords(PartitionRecords):
    undecodable: Exception | None = None

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except (DecompressionLimitError, CorruptRecordException) as error:
            self.undecodable = error


class _FetchResult(_StrictResult):  # type: ignore[misc]
    """aiokafka's result of a fetch of one partition; the error that ended it is kept in the partition's state."""

    def getall(self, max_records: int | None = None) -> list[Any]:
        records = self._partition_records
        found: list[Any] = super().getall(max_records)
        if records is not None and records.undecodable:
            self._assignment.state_value(self._topic_partition).undecodable = records.undecodable
        return found


def _snappy_blocks(payload: Any) -> Iterator[Any]:  # noqa: ANN401
    view = memoryview(payload)
    if not codec._detect_xerial_stream(payload):  # noqa: SLF001 - as aiokafka itself decides
        yield view
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(view):
        (length,) = _BLOCK_LENGTH.unpack_from(view, at)
        if length < 0:
            raise DecompressionLimitError("snappy: a block of negative length")  # aiokafka would not terminate
        at += _BLOCK_LENGTH.size
        yield view[at : at + length]
        at += length
