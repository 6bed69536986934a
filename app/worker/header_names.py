r"""Reading records whose header names are not UTF-8.

aiokafka decodes names strictly: one such record, which any producer in C, Go or Rust can write, raises from the fetch
again and again, and the records before it in the same fetch would be skipped if one went on. Kafka's protocol says
"string" and its broker does not check. So a fetch that cannot be decoded is read once more by aiokafka's own parser in
Python, with escapes in place of the bytes that are no text: ``b"\xff"`` becomes ``"\xff"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT_MAGIC = 2
_StrictRecords: Any = fetcher.MemoryRecords
_StrictPartition: Any = fetcher.PartitionRecords


def read_any_header_name() -> None:
    """Make aiokafka's fetcher lenient, for the whole process."""
    fetcher.MemoryRecords = _KeptRecords
    fetcher.PartitionRecords = PartitionRecords


class _Text(bytearray):
    """A buffer whose parts decode leniently."""

    def __getitem__(self, place: Any) -> Any:  # noqa: ANN401
        found = super().__getitem__(place)
        return _Text(found) if isinstance(place, slice) else found

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
    """aiokafka's records with their bytes at hand, which its compiled class hides."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data


class PartitionRecords(_StrictPartition):  # type: ignore[misc]
    """aiokafka's records of one partition's fetch, whatever their header names."""

    _tp: Any
    _records: Any
    _aborted_producers: set[int]

    def __init__(self, tp: Any, records: _KeptRecords, aborted_transactions: Any, *rest: Any) -> None:  # noqa: ANN401
        self._aborted_at_first = aborted_transactions
        super().__init__(tp, records, aborted_transactions, *rest)

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except UnicodeDecodeError:
            yield from self._read_again(self.next_fetch_offset)

    def _read_again(self, begin: int) -> Iterator[Any]:
        """Read the fetch from its start, where its transactions begin, and yield what was not yielded before."""
        self._records = _LenientRecords(self._records.data)
        self._aborted_transactions = sorted(self._aborted_at_first or [], key=lambda at: at[1])
        self._aborted_producers = set()
        for record in super()._unpack_records():
            if record.offset >= begin:
                yield record
