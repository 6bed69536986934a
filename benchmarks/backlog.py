"""How fast a worker drains a backlog: real Kafka, real PostgreSQL, on this machine, checked afterwards.

Run with ``make bench-backlog``. Prints one JSON object per run (`benchmarks.drain.Run`), and the median of the rates.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.contestant import Contestant, keepstream
from benchmarks.drain import drain
from benchmarks.events import Backlog, event
from benchmarks.figures import spread
from benchmarks.stage import BROKER_JVM, open_stage

__all__ = ["BROKER_JVM", "PARTITIONS", "TOPIC", "event"]
PARTITIONS = 8
TOPIC = "events"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--size", type=int, default=360)
    parser.add_argument("--rows", type=int, help="rows per commit; without it, the defaults")
    parser.add_argument("--no-synchronous-commit", action="store_true", help="no commit waits for the disk")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    name = f"keepstream-{given.rows or 'default'}"
    contestant = Contestant(name, name, keepstream(given.rows), counts_exactly=True)
    rates = []
    with open_stage(synchronous_commit=not given.no_synchronous_commit) as stage:
        for _ in range(given.runs):
            run = drain(stage, contestant, Backlog(given.events, given.size, PARTITIONS))
            print(json.dumps(run.as_json()), flush=True)
            rates.append(run.events_per_s)
    if found := spread(rates):
        print(f"events/s: {found.text()}")


if __name__ == "__main__":
    main()
