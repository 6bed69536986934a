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
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--transaction-size", type=int, default=1000)
    parser.add_argument("--synchronous-commit", action="store_true", help="every commit waits for the disk")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    name = f"keepstream-{given.batch_size}"
    settings = {"KEEPSTREAM_WORKER__TRANSACTION_SIZE": str(given.transaction_size)}
    contestant = Contestant(name, name, keepstream(given.batch_size, **settings), counts_exactly=True)
    rates = []
    with open_stage(synchronous_commit=given.synchronous_commit) as stage:
        for _ in range(given.runs):
            run = drain(stage, contestant, Backlog(given.events, given.size, PARTITIONS))
            print(json.dumps(run.as_json()), flush=True)
            rates.append(run.events_per_s)
    if found := spread(rates):
        print(f"events/s: {found.text()}")


if __name__ == "__main__":
    main()
