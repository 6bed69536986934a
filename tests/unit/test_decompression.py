"""Compressed batches that are larger than they look, against aiokafka's own fetch."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import cramjam
import pytest
from aiokafka import codec
from aiokafka.consumer import fetcher
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.structs import TopicPartition

from keepstream.app.worker import decompression as unpacking
from keepstream.app.worker.aiokafka_internals import decode_headers_leniently, limit_decompression
from tests.raw_headers import raw_batch

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
LIMIT_BYTES = 100_000
PARTITION = TopicPartition("t", 0)
BOMB = (b"0" * LIMIT_BYTES, False)

every_codec = pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    decode_headers_leniently()
    limit_decompression(LIMIT_BYTES)
    yield
    limit_decompression(1 << 25)


def fetch(data: bytes, begin: int = 0) -> Any:
    records = fetcher.MemoryRecords(data)
    return fetcher.PartitionRecords(PARTITION, records, None, begin, None, None, True, fetcher.READ_COMMITTED)


@every_codec
def test_a_batch_within_the_limit_is_read(compression: int) -> None:
    values = [(b"%d" % i, False) for i in range(1000)]
    found = fetch(raw_batch(values, 0, compression))
    assert [record.value for record in found] == [value for value, _ in values]
    assert found.undecodable is None


@every_codec
def test_reading_ends_before_a_batch_beyond_the_limit(compression: int) -> None:
    data = raw_batch([(b"small", False)] * 3, 10, compression) + raw_batch([BOMB], 13, compression)
    found = fetch(data, begin=10)
    assert [record.offset for record in found] == [10, 11, 12]
    assert found.next_fetch_offset == 13
    assert found.undecodable
    again = fetch(raw_batch([BOMB], 13, compression), begin=13)
    assert [*again] == []
    assert again.next_fetch_offset == 13


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_what_is_no_such_stream_cannot_be_decoded(name: str, cut: int) -> None:
    unpack = getattr(unpacking.BoundedDecompressor(LIMIT_BYTES), name)
    packed = getattr(codec, f"{name}_encode")(b"a stream of its own" * 100)
    assert unpack(packed) == b"a stream of its own" * 100
    with pytest.raises(unpacking.DecompressionLimitError):
        unpack(packed[:cut] + b"\xff\xff" if cut >= 0 else packed[:cut])


def test_snappy_blocks_count_together_and_a_negative_one_is_refused() -> None:
    unpacker = unpacking.BoundedDecompressor(LIMIT_BYTES)
    packed = codec.snappy_encode(b"0" * (LIMIT_BYTES + 1), xerial_blocksize=10_000)
    with pytest.raises(unpacking.DecompressionLimitError, match="more than 100000 bytes"):
        unpacker.snappy(packed)
    with pytest.raises(unpacking.DecompressionLimitError, match="negative"):
        unpacker.snappy(packed[:16] + (-4).to_bytes(4, "big", signed=True))
    raw = bytes(cramjam.snappy.compress_raw(b"plain"))
    assert unpacker.snappy(raw) == b"plain"


def test_several_members_of_gzip_are_one_stream() -> None:
    assert unpacking.BoundedDecompressor(LIMIT_BYTES).gzip(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"


def test_reading_ends_before_a_batch_with_a_flipped_byte() -> None:
    good, bad = raw_batch([(b"good", False)] * 3, 10), bytearray(raw_batch([(b"bad", False)], 13))
    bad[-2] ^= 1
    found = fetch(good + bytes(bad), begin=10)
    assert [record.offset for record in found] == [10, 11, 12]
    assert found.next_fetch_offset == 13
    assert "CRC" in str(found.undecodable)


def test_records_of_message_format_v0_have_no_timestamp() -> None:
    batch = LegacyRecordBatchBuilder(magic=0, compression_type=0, batch_size=1000)
    batch.append(0, None, b"key", b"value")
    (record,) = fetch(bytes(batch.build()))
    assert (record.value, record.timestamp) == (b"value", -1)
