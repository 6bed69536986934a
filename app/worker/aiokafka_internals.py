"""All that goes below aiokafka's public interface: what is patched, and what is read of its private attributes.

No other file does (`tests/unit/test_aiokafka_internals.py`), and aiokafka is pinned exactly: a new version is compared
with this file. Patched: lenient header names, bounded decompression, corrupt batches, no topics created.

A batch that cannot be decoded (beyond the limit, corrupt) ends the fetch of its partition without an error, because an
error would skip the records of other partitions in the same fetch. The error is kept in the consumer's state of the
partition (`undecodable`) until the next seek.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import aiokafka.record._crecords.default_records as compiled
import aiokafka.record._crecords.legacy_records as compiled_legacy
import aiokafka.record.default_records as plain
from aiokafka import AIOKafkaConsumer, client
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from keepstream.app.worker.decompression import BoundedDecompressor, DecompressionLimitError

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


def is_closed(consumer: AIOKafkaConsumer) -> bool:
    return bool(consumer._closed)


def is_rebalancing(consumer: AIOKafkaConsumer) -> bool:
    """Whether the group assigns partitions anew: a fetch would wait for it, and raise what the group refuses."""
    return bool(consumer._subscription.reassignment_in_progress)


def fetch_context(consumer: AIOKafkaConsumer) -> AbstractContextManager[None]:
    """Count as fetching: aiokafka takes that for the sign of life of its application (``max_poll_interval_ms``)."""
    return consumer._subscription.fetch_context()  # type: ignore[no-any-return]


async def fetched_records(
    consumer: AIOKafkaConsumer, partitions: set[TopicPartition], wait_s: float, count: int
) -> dict[TopicPartition, list[Any]]:
    """Take decoded records below `getmany`, which would wait for the group and raise what it refuses."""
    return await consumer._fetcher.fetched_records(partitions, wait_s, count)  # type: ignore[no-any-return]


def partition_states(consumer: AIOKafkaConsumer) -> dict[TopicPartition, Any]:
    """Return aiokafka's state of each assigned partition: its position, the end of its log, `undecodable`."""
    assignment = _assignment(consumer)
    states = {tp: assignment.state_value(tp) for tp in assignment.tps} if assignment else {}
    return {tp: state for tp, state in states.items() if state}


def last_stable_offset(consumer: AIOKafkaConsumer, tp: TopicPartition) -> int | None:
    """Return the end of the committed log as of the last fetch; None before it, and for a partition that is gone."""
    assignment = _assignment(consumer)
    state = assignment.state_value(tp) if assignment else None
    return state.lso if state else None


def _assignment(consumer: AIOKafkaConsumer) -> Any:  # noqa: ANN401
    subscription = consumer._subscription.subscription
    return subscription.assignment if subscription else None


async def committed_with_metadata(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """Return the group's offsets with their metadata, which the public `committed` leaves out."""
    return await consumer._coordinator.fetch_committed_offsets(partitions)  # type: ignore[no-any-return]


def member_id(consumer: AIOKafkaConsumer) -> str:
    return str(consumer._coordinator.member_id)


def is_joining(consumer: AIOKafkaConsumer) -> bool:
    """Whether the consumer has asked the group to join and is not a member. It has no coordinator before its start."""
    coordinator = consumer._coordinator
    return coordinator is not None and coordinator.generation <= 0


def retry_refused_join(consumer: AIOKafkaConsumer) -> KafkaError | None:
    """Take the error of a refused join, which only `getmany` does, and join again: aiokafka waits for it.

    Raises the error that ended aiokafka's coordination task (Faust trap T34).
    """
    coordinator = consumer._coordinator
    try:
        coordinator.check_errors()
    except KafkaError as error:
        if coordinator._coordination_task.done():
            raise
        coordinator.request_rejoin()
        return error
    return None


def is_settled_member(consumer: AIOKafkaConsumer) -> bool:
    """Whether this consumer is a member of the group, and no join is due."""
    coordinator = consumer._coordinator
    return coordinator.generation > 0 and not coordinator._rejoin_needed_fut.done()


def leave_also_as_static_member(consumer: AIOKafkaConsumer) -> None:
    """Make aiokafka send LeaveGroup when it stops: it does so for dynamic members only; the broker accepts it."""
    consumer._coordinator._group_instance_id = None
