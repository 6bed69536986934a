"""What a worker needs in memory, whatever the records weigh."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.conftest import System
from tests.builders import make_value
from tests.contract.faust_program import stays
from tests.real import eventually

pytestmark = [pytest.mark.real, pytest.mark.long]

LIMIT_MB = 300
PARTITIONS = 8
RECORDS = 200
RECORD_BYTES = 1_000_000
NOISE = base64.b64encode(random.Random(0).randbytes(RECORD_BYTES)).decode()


def large_values(*, compressible: bool) -> Iterator[bytes]:
    """Events of 1 MB: each other noise, or each a long run of one character and a thousandth of it on the wire."""
    for i in range(RECORDS):
        filler = "x" * (RECORD_BYTES - 300) if compressible else NOISE[i : i + RECORD_BYTES - 300]
        yield make_value(payload={"filler": filler})


@pytest.mark.parametrize(("codec", "compressible"), [("none", False), ("lz4", True)], ids=["plain", "compressed"])
@pytest.mark.parametrize("broken", [False, True], ids=["delivered", "dead"])
def test_a_backlog_of_records_of_1_mb_fits(
    new_system: Callable[..., System], codec: str, compressible: bool, broken: bool
) -> None:
    system = new_system(PARTITIONS)
    values = large_values(compressible=compressible)
    settings = {"compression.type": codec, "batch.num.messages": 1, "message.max.bytes": 1_048_588,
                "partitioner": "random", "linger.ms": 0}  # fmt: skip
    system.produce((value[:-1] if broken else value for value in values), settings=settings)
    worker = system.start_worker()
    system.settled(RECORDS, 150)
    peak = worker.peak_mb()
    print(f"peak of {peak} MB: {codec}, {'dead' if broken else 'delivered'}")
    assert peak < LIMIT_MB
    assert system.database.totals()["failed"] == (RECORDS if broken else 0)


def test_a_backlog_of_large_keys_fits_while_postgres_is_busy(new_system: Callable[..., System]) -> None:
    system = new_system(PARTITIONS)
    settings = {"compression.type": "lz4", "batch.num.messages": 20, "partitioner": "random", "linger.ms": 20}
    worker = system.start_worker()
    with system.database.connect() as blocker, blocker.transaction():
        blocker.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        system.produce((make_value() for _ in range(3000)), key=b"k" * 200_000, settings=settings)
        eventually(lambda: worker.metric("keepstream_buffered_bytes") > 30_000_000, 30, "the queues are full")
        stays(lambda: worker.peak_mb() < LIMIT_MB, 5, "more is fetched than fits")
    system.settled(3000, 150)
