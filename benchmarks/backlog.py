"""How fast a worker drains a backlog: real Kafka, real PostgreSQL, on this machine, checked afterwards.

Run with ``make bench-backlog``. Prints one JSON object per run (`benchmarks.drain.Run`), and the median of the rates;
with ``MAPPED=1`` also those of a topic of another shape, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from benchmarks.contestant import Contestant, keepstream
from benchmarks.drain import Run, drain
from benchmarks.events import MAPPING, Backlog, event
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
    parser.add_argument("--mapped", action="store_true", help="also a topic of another shape, which a mapping reads")
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    name = f"keepstream-{given.rows or 'default'}"
    backlogs = [Backlog(given.events, given.size, PARTITIONS)]
    if given.mapped:
        backlogs.append(replace(backlogs[0], foreign=True))
    runs: dict[str, list[Run]] = {backlog.topic: [] for backlog in backlogs}
    with open_stage(synchronous_commit=not given.no_synchronous_commit) as stage:
        for turn in range(given.runs):
            for backlog in reversed(backlogs) if turn % 2 else backlogs:
                command = keepstream(given.rows, **(MAPPING if backlog.foreign else {}))
                run = drain(stage, Contestant(name, name, command, counts_exactly=True), backlog)
                print(json.dumps(run.as_json()), flush=True)
                runs[backlog.topic].append(run)
    report(runs)


def report(runs: dict[str, list[Run]]) -> None:
    """Print the rates of each topic, and those of the others divided by the first one's, turn by turn."""
    first, *_ = runs.values()
    for topic, found in runs.items():
        if rates := spread(run.events_per_s for run in found):
            print(f"{topic}: {rates.text()} events/s")
        ratios = spread(ours.events_per_s / theirs.events_per_s for ours, theirs in zip(found, first, strict=True))
        if ratios and found is not first:
            print(f"{topic}: {ratios.text(2)} of that rate")


if __name__ == "__main__":
    main()
