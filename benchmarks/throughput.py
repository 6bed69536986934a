"""All contestants in turn over the same backlog, round after round: ``make bench-throughput``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from benchmarks.contestant import Contestant
from benchmarks.events import Backlog
from benchmarks.report import write
from benchmarks.roster import (
    CONNECT,
    FAST_STREAM,
    FLINK,
    FLOORS,
    HAND,
    KEEPSTREAM,
    KEEPSTREAM_100,
    OTHER_PYTHON,
    PLAIN_FAUST,
    QUIX,
    RAW_JSON,
    named,
)
from benchmarks.sitting import Sitting, options, sitting


@dataclass(frozen=True)
class Part:
    """Contestants that take turns under the same conditions. ``rounds`` at most: the slow ones decide no goal."""

    contestants: tuple[Contestant, ...]
    rounds: int = 3
    size_bytes: int = 360
    synchronous_commit: bool = True


FASTEST = (KEEPSTREAM, CONNECT[1], FLINK[1], RAW_JSON[1])
PARTS = (
    Part((KEEPSTREAM, KEEPSTREAM_100, *FLOORS, *CONNECT, *FLINK, *RAW_JSON)),
    Part((KEEPSTREAM, KEEPSTREAM_100, FLOORS[2], *CONNECT, *FLINK, RAW_JSON[1]), synchronous_commit=False),
    Part((KEEPSTREAM, *HAND, *FAST_STREAM, *QUIX, PLAIN_FAUST[0]), rounds=1),
    Part((KEEPSTREAM, HAND[0], HAND[1]), rounds=1, synchronous_commit=False),
    Part(FASTEST, rounds=1, size_bytes=1024),
    Part(FASTEST, rounds=1, size_bytes=4096),
    *([Part((KEEPSTREAM, OTHER_PYTHON))] if OTHER_PYTHON else ()),
)


def run(now: Sitting, part: Part, wanted: tuple[Contestant, ...], first_round: int) -> None:
    """Take all turns of a part. Rounds are numbered through all parts, and a ratio is taken within one."""
    now.stage.set_synchronous_commit(on=part.synchronous_commit)
    backlog = Backlog(now.events, part.size_bytes)
    about: dict[str, Any] = {"size_bytes": part.size_bytes, "synchronous_commit": part.synchronous_commit}
    for number in range(min(part.rounds, now.runs)):
        for contestant in part.contestants:
            if contestant in wanted and contestant.name not in now.missing:
                now.measure(contestant, backlog, **about, round=first_round + number)


def main() -> None:
    parser = options("throughput")
    parser.add_argument("--sizes", default=os.environ.get("SIZES") or "360,1024,4096", help="bytes per event")
    given = parser.parse_args()
    wanted, sizes = named(given.only), {*map(int, given.sizes.split(","))}
    with sitting("throughput", given) as now:
        for number, part in enumerate(part for part in PARTS if part.size_bytes in sizes):
            run(now, part, wanted, 10 * number)
    write(now.results)


if __name__ == "__main__":
    main()
