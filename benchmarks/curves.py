"""What keepstream costs against one thing at a time: ``make bench-curves``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg

from benchmarks.contestant import Contestant, keepstream
from benchmarks.events import Backlog
from benchmarks.report import write
from benchmarks.roster import KEEPSTREAM_100
from benchmarks.sitting import FULL_EVENTS, options, sitting

BATCH_SIZES = (1, 10, 50, 100, 200, 500, 1000)
PARTITIONS = (1, 4, 8, 16, 64)
SIZES_BYTES = (360, 1024, 4096, 16384)
TABLE_ROWS = (0, 1_000_000, 5_000_000, 20_000_000)
BAD_SHARES = (0.0, 0.01, 0.1, 0.5)
WORKERS = (1, 2, 4)
ONCE_FROM_ROWS = 5_000_000
"""A table this large is filled once, not for every run: minutes for each filling."""
FEW_EVENTS_BELOW_BATCH = 10
BACKLOG_LIMIT = 4096
"""Larger events come in a third of the number."""
FILL = """
INSERT INTO events (event_id, payload, metadata, status, created_at, correlation_id,
                    source_topic, source_partition, source_offset)
SELECT '0193b2f4-7e1a-7c3e-' || lpad(to_hex((random() * 65535)::int), 4, '0') || '-f' || lpad(n::text, 11, '0'),
       '{"order_id": "o-1", "amount": 129.95, "currency": "EUR", "items": [{"sku": "A-1", "qty": 2}]}',
       '{"source": "shop", "region": "eu-central", "version": 3}', 'delivered', now(), 'corr-0193b2f4-7e1a',
       'earlier', 0, n
FROM generate_series(1, %s) n"""


@dataclass(frozen=True)
class Point:
    """One point of one curve."""

    curve: str
    x: float
    contestant: Contestant
    backlog: Backlog
    prepare: Callable[..., None] | None = None
    once: bool = False


def points(events: int) -> Iterator[Point]:
    """Yield all points of all curves."""
    for size in BATCH_SIZES:
        few = Backlog(events // 5 if size < FEW_EVENTS_BELOW_BATCH else events)
        name = f"keepstream-{size}"
        yield Point("batch size", size, Contestant(name, name, keepstream(size), counts_exactly=True), few)
    for partitions in PARTITIONS:
        yield Point("partitions", partitions, KEEPSTREAM_100, Backlog(events, partitions=partitions))
    for size_bytes in SIZES_BYTES:
        fewer = events if size_bytes <= BACKLOG_LIMIT else events // 3
        yield Point("event size", size_bytes, KEEPSTREAM_100, Backlog(fewer, size_bytes))
    for share in BAD_SHARES:
        yield Point("bad share", share, KEEPSTREAM_100, Backlog(events, bad_share=share))
    for workers in WORKERS:
        several = Contestant(f"{workers}-workers", "", keepstream(100), counts_exactly=True, processes=workers)
        yield Point("workers", workers, several, Backlog(events))
    for rows in TABLE_ROWS if events >= FULL_EVENTS else TABLE_ROWS[:2]:
        filled = partial(fill_table, rows=rows)
        yield Point("table rows", rows, KEEPSTREAM_100, Backlog(events), filled, once=rows >= ONCE_FROM_ROWS)


def fill_table(connection: psycopg.Connection[Any], schema: str, *, rows: int) -> None:
    """Put rows into the table before the worker starts; the index is built afterwards, which is many times faster."""
    if rows:
        connection.execute(f"ALTER TABLE {schema}.events DROP CONSTRAINT events_pkey")
        connection.execute(FILL, [rows])
        connection.execute(f"ALTER TABLE {schema}.events ADD PRIMARY KEY (event_id)")
        connection.execute("VACUUM ANALYZE events")


def main() -> None:
    parser = options("curves")
    parser.add_argument("--curves", default=os.environ.get("CURVES", ""), help="names, separated by commas")
    given = parser.parse_args()
    wanted = [name for name in given.curves.split(",") if name]
    with sitting("curves", given) as now:
        for point in points(given.events):
            if wanted and point.curve not in wanted:
                continue
            for number in range(1 if point.once else given.runs):
                now.measure(point.contestant, point.backlog, point.prepare, curve=point.curve, x=point.x, round=number)
    write(now.results)


if __name__ == "__main__":
    main()
