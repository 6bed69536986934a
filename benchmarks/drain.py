"""One run: a contestant drains a backlog into a new schema; what it did is read from the database afterwards."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import psycopg
from psycopg.rows import dict_row

from benchmarks.contestant import HERE, Contestant, Course
from benchmarks.events import Backlog
from benchmarks.stage import Stage
from benchmarks.usage import Usage, usage
from keepstream.app.embedded.process import ChildProcess, log_tail

TIMEOUT_S = 900.0
POLL_S = 0.25
NEARLY = 0.95
RATES = (HERE / "rates.sql").read_text(encoding="utf-8")
INSERTED = "SELECT pg_stat_get_tuples_inserted('events'::regclass)"
TOTAL = "SELECT total FROM event_totals"


class VoidError(Exception):
    """The run does not count; the text says why."""


@dataclass(frozen=True)
class Run:
    """What one run showed. CPU in microseconds per event, from the first row seen to the last, start-up left out."""

    contestant: str
    topic: str
    events_per_s: float
    second_half_per_s: float
    wall_s: float
    """From the start of the process to the last commit."""
    rows_per_commit: int
    most_rows_per_commit: int
    worker_cpu_us: float
    postgres_cpu_us: float
    broker_cpu_us: float
    worker_cpu_us_with_start: float
    worker_rss_mb: float
    """Most resident memory seen while it ran, all its processes together."""
    postgres_pss_mb: float
    broker_rss_mb: float

    def as_json(self) -> dict[str, Any]:
        return {name: round(v, 2) if isinstance(v, float) else v for name, v in asdict(self).items()}


@dataclass(frozen=True)
class Sample:
    """What everybody had used when so many events were done."""

    done: int
    worker: Usage
    postgres: Usage
    broker: Usage


def drain(
    stage: Stage,
    contestant: Contestant,
    backlog: Backlog,
    prepare: Callable[[psycopg.Connection[Any], str], None] | None = None,
) -> Run:
    """Run a contestant over a backlog. Raises MissingError, or VoidError where rows or counters are not what they must.

    ``prepare`` may fill the new schema before the contestant starts.
    """
    backlog = replace(backlog, flat=contestant.flat)
    topic = stage.fill(backlog)
    with new_schema(stage, contestant) as (connection, schema):
        if prepare:
            prepare(connection, schema)
        connection.execute("CHECKPOINT")
        course = Course(
            stage.bootstrap_servers, stage.url, schema, backlog, stage.synchronous_commit, stage.folder
        )  # fmt: skip
        began = time.time()
        workers = [contestant.start(course, number) for number in range(contestant.processes)]
        try:
            samples = watch(stage, contestant, connection, workers, backlog)
        finally:
            for worker in workers:
                worker.stop(timeout_s=15, signum=contestant.stop_signal)
        rates = check(connection, contestant, backlog, began)
    return Run(
        contestant=contestant.name, topic=topic, wall_s=rates.pop("last_commit") - began,
        **rates, **spent(samples, backlog),
    )  # fmt: skip


@contextmanager
def new_schema(stage: Stage, contestant: Contestant) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """Make a schema with the contestant's tables, and drop it afterwards."""
    schema = f"bench_{uuid.uuid4().hex[:8]}"
    with stage.connect(schema) as connection:
        contestant.create_tables(connection, schema)
        try:
            yield connection, schema
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


def watch(
    stage: Stage,
    contestant: Contestant,
    connection: psycopg.Connection[Any],
    workers: list[ChildProcess],
    backlog: Backlog,
) -> list[Sample]:
    """Wait until everything is there; return samples taken on the way."""
    samples: list[Sample] = []
    deadline = time.monotonic() + TIMEOUT_S
    while not samples or samples[-1].done < backlog.events:
        ended = [worker for worker in workers if worker.exit_code is not None]
        if ended or time.monotonic() > deadline:
            what = f"ended with {ended[0].exit_code}" if ended else f"was not done in {TIMEOUT_S:g} s"
            raise VoidError(f"{contestant.name} {what}:\n{log_tail((ended or workers)[0].program.log_path)}")
        time.sleep(POLL_S)
        samples.append(sample(stage, workers, done(connection, contestant, backlog)))
    return samples


def done(connection: psycopg.Connection[Any], contestant: Contestant, backlog: Backlog) -> int:
    """Return how many events are done, as cheaply as can be: counting rows costs a scan, so only near the end."""
    if contestant.counts_exactly:
        return int(connection.execute(TOTAL).fetchall()[0][0])
    inserted = int(connection.execute(INSERTED).fetchall()[0][0])
    if 0 < inserted < backlog.events * NEARLY:
        return inserted
    return int(connection.execute("SELECT count(*) FROM events").fetchall()[0][0])


def sample(stage: Stage, workers: list[ChildProcess], done: int) -> Sample:
    assert stage.postgres.pid is not None
    assert stage.kafka.pid is not None
    parts = [usage(worker.pid) for worker in workers]
    together = Usage(sum(p.cpu_s for p in parts), sum(p.rss_mb for p in parts), sum(p.peak_mb for p in parts))
    return Sample(done, together, usage(stage.postgres.pid, shared=True), usage(stage.kafka.pid))


def check(
    connection: psycopg.Connection[Any], contestant: Contestant, backlog: Backlog, since: float
) -> dict[str, Any]:
    """Read the rates. Raises VoidError unless the rows equal the events and the counters equal both."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rates = cursor.execute(RATES, {"since": since}).fetchall()[0]
    rows = rates.pop("rows")
    if rows != backlog.good:
        raise VoidError(f"{contestant.name}: {rows} rows of {backlog.good} events")
    if contestant.counts_exactly:
        totals = connection.execute("SELECT total, delivered, failed FROM event_totals").fetchall()[0]
        if totals != (backlog.events, backlog.good, backlog.bad):
            raise VoidError(f"{contestant.name}: counters {totals} for {backlog}")
    for name in ("events_per_s", "second_half_per_s"):  # broken events are work too, and leave no row
        rates[name] *= backlog.events / backlog.good
    return dict(rates)


def spent(samples: list[Sample], backlog: Backlog) -> dict[str, Any]:
    """Divide what was used between the first row seen and the last by the events of that time."""
    first = next(s for s in samples if s.done > 0)
    last = samples[-1]
    events = max(1, last.done - first.done)
    return {
        "worker_cpu_us": (last.worker.cpu_s - first.worker.cpu_s) * 1e6 / events,
        "postgres_cpu_us": (last.postgres.cpu_s - first.postgres.cpu_s) * 1e6 / events,
        "broker_cpu_us": (last.broker.cpu_s - first.broker.cpu_s) * 1e6 / events,
        "worker_cpu_us_with_start": last.worker.cpu_s * 1e6 / backlog.events,
        "worker_rss_mb": max(s.worker.rss_mb for s in samples),
        "postgres_pss_mb": max(s.postgres.rss_mb for s in samples),
        "broker_rss_mb": max(s.broker.rss_mb for s in samples),
    }
