"""From produce to commit at 10 and 50 % of the measured maximum, in an open loop: ``make bench-latency``.

keepstream with a transaction per batch is measured at the rates of keepstream's default. Pinned: broker, database and
producer share one core, the worker has the other.
"""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import psycopg
from confluent_kafka import Producer

from benchmarks.affinity import on_worker_core, pinned
from benchmarks.contestant import HERE, ROOT, Contestant, Course, MissingError
from benchmarks.drain import VoidError, new_schema
from benchmarks.events import Backlog, create, event
from benchmarks.report import write
from benchmarks.roster import HAND, KEEPSTREAM, KEEPSTREAM_100, named
from benchmarks.sitting import FULL_EVENTS, Sitting, options, sitting

DURATION_S, SHORT_DURATION_S, RAMP_S = 15.0, 6.0, 2.0
START_TIMEOUT_S, OVERTIME_S = 120.0, 60.0
FIGURES = ("p50_ms", "p99_ms", "p999_ms", "worst_ms", "producer_late_ms")
WARM_EVENTS, WARM_FROM = 2000, 10**11
LATENCY = (HERE / "latency.sql").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Load:
    """A contestant at shares of the maximum of ``pace``."""

    contestant: Contestant
    pace: Contestant
    shares: tuple[float, ...] = (0.1, 0.5)
    is_pinned: bool = False
    rounds: int = 3


LOADS = (
    Load(KEEPSTREAM, KEEPSTREAM),
    Load(KEEPSTREAM_100, KEEPSTREAM),
    Load(KEEPSTREAM, KEEPSTREAM, is_pinned=True),
    Load(KEEPSTREAM_100, KEEPSTREAM, shares=(0.1,), is_pinned=True),
    Load(HAND[0], HAND[0], rounds=1),
)


def measure(now: Sitting, contestant: Contestant, rate: float, duration_s: float) -> dict[str, Any]:
    """Run one contestant at one rate. Raises VoidError when events are missing long after the last was due."""
    stage, count = now.stage, int(rate * duration_s)
    backlog = Backlog(count, flat=contestant.flat, name=f"live-{uuid.uuid4().hex[:8]}")
    create(stage.bootstrap_servers, backlog.topic, backlog.partitions)
    warm_up(stage.bootstrap_servers, backlog)
    with new_schema(stage, contestant) as (connection, schema):
        course = Course(stage.bootstrap_servers, stage.url, schema, backlog, stage.synchronous_commit, stage.folder)
        worker = contestant.start(course)
        try:
            wait(connection, WARM_EVENTS, START_TIMEOUT_S)
            began, late_s = produce(now, backlog, rate, count)
            wait(connection, WARM_EVENTS + count, OVERTIME_S)
        finally:
            worker.stop(timeout_s=15)
        place = {"began": began, "rate": rate, "count": count, "ramp_s": RAMP_S}
        percentiles, worst, events = connection.execute(LATENCY, place).fetchall()[0]
    figures = dict(zip(FIGURES, [*percentiles, worst, late_s * 1000], strict=True))
    return {"contestant": contestant.name, "rate_per_s": round(rate), "events": events} | {
        name: round(ms, 1) for name, ms in figures.items()
    }


def warm_up(bootstrap_servers: str, backlog: Backlog) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for number in range(WARM_EVENTS):
        value = event(WARM_FROM + number, backlog.size_bytes, flat=backlog.flat)
        producer.produce(backlog.topic, value, partition=number % backlog.partitions)
    assert producer.flush(30) == 0


def produce(now: Sitting, backlog: Backlog, rate: float, count: int) -> tuple[float, float]:
    """Run the producer to its end; return when event 0 was due, and how late the producer was at worst."""
    argv = [sys.executable, "-m", "benchmarks.open_loop", now.stage.bootstrap_servers, backlog.topic,
            str(backlog.partitions), str(rate), str(count), "flat" if backlog.flat else "nested"]  # fmt: skip
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    began, late_s = map(float, done.stdout.split())
    return began, late_s


def wait(connection: psycopg.Connection[Any], rows: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while (there := connection.execute("SELECT count(*) FROM events").fetchall()[0][0]) < rows:
        if time.monotonic() > deadline:
            raise VoidError(f"{rows - there} of {rows} events were missing after {timeout_s:g} s more")
        time.sleep(0.5)


def maximum(now: Sitting, contestant: Contestant, rounds: int) -> float:
    """Return the median rate of draining a backlog, 0 where the contestant is missing."""
    runs = [now.measure(contestant, Backlog(now.events), maximum=True) for _ in range(rounds)]
    rates = sorted(run.events_per_s for run in runs if run)
    return rates[len(rates) // 2] if rates else 0.0


def measure_load(now: Sitting, load: Load, share: float, highest: float, number: int) -> None:
    """Measure one share of a load, and report where that cannot be done."""
    contestant = on_worker_core(load.contestant) if load.is_pinned else load.contestant
    duration_s = DURATION_S if now.events >= FULL_EVENTS else SHORT_DURATION_S
    try:
        with pinned(now.stage) if load.is_pinned else nullcontext():
            figure = measure(now, contestant, share * highest, duration_s)
    except (MissingError, VoidError) as error:
        now.miss(f"{contestant.name} at {share:.0%}", str(error))
    else:
        now.add(figure | {"share": share, "round": number, "pinned": load.is_pinned})


def main() -> None:
    given = options("latency").parse_args()
    wanted = named(given.only)
    loads = [load for load in LOADS if load.contestant in wanted]
    with sitting("latency", given) as now:
        paces = {load.pace.name: load for load in reversed(loads)}
        highest = {name: maximum(now, load.pace, min(load.rounds, now.runs)) for name, load in paces.items()}
        for number, load in product(range(now.runs), loads):
            for share in load.shares if number < load.rounds and highest[load.pace.name] else ():
                measure_load(now, load, share, highest[load.pace.name], number)
    write(now.results)


if __name__ == "__main__":
    main()
