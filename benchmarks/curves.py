"""What keepstream costs against one thing at a time: ``make bench-curves``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks import tables
from benchmarks.contestant import Contestant, keepstream
from benchmarks.events import Backlog
from benchmarks.report import write
from benchmarks.roster import KEEPSTREAM
from benchmarks.sitting import Sitting, options, sitting

ROWS_PER_COMMIT = (10, 100, 250, 500, 1000, 2000)
PARTITIONS = (1, 8, 64)
BAD_SHARES, REFUSED_SHARES = (0.0, 0.01, 0.1), (0.001, 0.01)
WORKERS = (1, 2)
TABLE_ROWS = (0, 1_000_000, 5_000_000)
TABLE_PARTITIONS = 16
ONCE_FROM_ROWS = 1_000_000
"""A table this large is filled once, not for every run: a minute for each filling."""
FEW_EVENTS_BELOW_ROWS = 100
ROUNDS, GOAL_ROUNDS = 2, 3


@dataclass(frozen=True)
class Point:
    """One point of one curve."""

    curve: str
    x: float
    contestant: Contestant
    backlog: Backlog
    prepare: Callable[..., None] | None = None
    rounds: int = ROUNDS


def points(events: int, table_rows: tuple[int, ...]) -> Iterator[Point]:
    """Yield all points of all curves. Goals are read from the curve of bad records."""
    for share in BAD_SHARES:
        yield Point("bad share", share, KEEPSTREAM, Backlog(events, bad_share=share), rounds=GOAL_ROUNDS)
    for share in REFUSED_SHARES:
        refused = Backlog(events // 3, bad_share=share, refused=True)
        yield Point("share refused by PostgreSQL", share, KEEPSTREAM, refused)
    for rows in ROWS_PER_COMMIT:
        few = Backlog(events // 5 if rows < FEW_EVENTS_BELOW_ROWS else events)
        yield Point("rows per commit", rows, Contestant(f"keepstream-{rows}", "", keepstream(rows), True), few)
    for partitions in PARTITIONS:
        yield Point("partitions", partitions, KEEPSTREAM, Backlog(events, partitions=partitions))
    for workers in WORKERS:
        several = Contestant(f"{workers}-workers", "", keepstream(), counts_exactly=True, processes=workers)
        yield Point("workers", workers, several, Backlog(events))
    yield from table_points(events, table_rows)


def table_points(events: int, table_rows: tuple[int, ...]) -> Iterator[Point]:
    """Yield the curves of the table: random ids, time-ordered ones, and a table divided by the hash of random ids."""
    for name, time_ordered, partitions in (
        ("table rows", False, 0), ("table rows, UUIDv7", True, 0),
        (f"table rows, {TABLE_PARTITIONS} hash partitions", False, TABLE_PARTITIONS),
    ):  # fmt: skip
        for rows in table_rows:
            prepare = partial(tables.prepare, rows=rows, time_ordered=time_ordered, partitions=partitions)
            rounds = 1 if rows >= ONCE_FROM_ROWS else ROUNDS
            backlog = Backlog(events, time_ordered=time_ordered)
            yield Point(name, rows, KEEPSTREAM, backlog, prepare, rounds)


def main() -> None:
    parser = options("curves")
    parser.add_argument(
        "--curves", default=os.environ.get("CURVES", ""), help="beginnings of names, separated by commas"
    )
    parser.add_argument("--table-rows", default=os.environ.get("TABLE_ROWS", ""), help="numbers, separated by commas")
    given = parser.parse_args()
    wanted = tuple(name for name in given.curves.split(",") if name)
    table_rows = tuple(map(int, given.table_rows.split(","))) if given.table_rows else TABLE_ROWS
    with sitting("curves", given) as now:
        for curve, of_curve in by_curve(points(given.events, table_rows)).items():
            if not wanted or curve.startswith(wanted):
                run(now, of_curve)
    write(now.results)


def by_curve(points: Iterator[Point]) -> dict[str, list[Point]]:
    curves: dict[str, list[Point]] = {}
    for point in points:
        curves.setdefault(point.curve, []).append(point)
    return curves


def run(now: Sitting, points: list[Point]) -> None:
    """Take the points of a curve in turn, round after round: their ratios are taken within a round."""
    for number in range(min(now.runs, max(point.rounds for point in points))):
        for point in points:
            if number < point.rounds:
                now.measure(point.contestant, point.backlog, point.prepare, curve=point.curve, x=point.x, round=number)


if __name__ == "__main__":
    main()
