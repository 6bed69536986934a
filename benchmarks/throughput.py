"""All contestants in turn over the same backlog, round after round: ``make bench-throughput``."""

from __future__ import annotations

import os

from benchmarks.events import Backlog
from benchmarks.report import write
from benchmarks.roster import named
from benchmarks.sitting import options, sitting

SIZES = "360,1024,4096"


def main() -> None:
    parser = options("throughput")
    parser.add_argument("--sizes", default=os.environ.get("SIZES") or SIZES, help="bytes per event")
    given = parser.parse_args()
    contestants = named(given.only)
    with sitting("throughput", given) as now:
        for size in map(int, given.sizes.split(",")):
            for number in range(given.runs):
                for contestant in contestants:
                    if contestant.name not in now.missing:
                        backlog = Backlog(given.events, size)
                        now.measure(contestant, backlog, size_bytes=size, round=number)
    write(now.results)


if __name__ == "__main__":
    main()
