"""Header names that are no text, against aiokafka's own fetch."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.structs import TopicPartition

from keepstream.app.worker import aiokafka_internals as header_names
from tests.raw_headers import raw_batch

CODECS = {"none": 0, "gzip": 1, "lz4": 3, "zstd": 4}


def read(data: bytes, *, begin: int = 0, aborted: Any = None, lenient: bool = True) -> list[Any]:
    """Read a fetch response as aiokafka's fetcher does, with its checks."""
    records: Any = header_names._KeptRecords if lenient else header_names._StrictRecords
    partition: Any = header_names.PartitionRecords if lenient else header_names._StrictPartition
    found = partition(TopicPartition("t", 0), records(data), aborted, begin, None, None, True, fetcher.READ_COMMITTED)
    got = [*found]
    assert found.next_fetch_offset == (got[-1].offset + 1 if got else begin)
    return got


def values(count: int, *raw: int) -> list[tuple[bytes, bool]]:
    return [(b"%d" % i, i in raw) for i in range(count)]


def test_aiokafka_alone_cannot_read_it() -> None:
    with pytest.raises(UnicodeDecodeError):
        read(raw_batch(values(3, 1)), lenient=False)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("raw", [(0,), (1,), (5,), (0, 3, 5), range(6)], ids=str)
def test_every_record_is_read_once_and_in_order(codec: int, raw: Any) -> None:
    data = raw_batch(values(6, *raw), 10, codec) + raw_batch(values(6, *raw), 16, codec)
    got = read(data, begin=10)
    assert [(r.offset, r.value, r.key) for r in got] == [(10 + i, b"%d" % (i % 6), b"k") for i in range(12)]
    for record in got:
        named = [("\\xff\\xfename", b"2")] if (record.offset - 10) % 6 in raw else []
        assert list(record.headers) == [("first", b"1"), *named]


def test_a_fetch_that_begins_inside_a_batch_begins_there() -> None:
    assert [r.offset for r in read(raw_batch(values(6, 2, 4), 10), begin=13)] == [13, 14, 15]


@pytest.mark.parametrize("raw", [(), (1,)])
def test_ordinary_names_are_read_by_the_compiled_parser(raw: Any) -> None:
    name = "\N{SNOWMAN}"
    assert name.encode().decode() == name
    assert [r.headers[0] for r in read(raw_batch(values(2, *raw)))] == [("first", b"1")] * 2
