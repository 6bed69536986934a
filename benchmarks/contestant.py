"""What a contestant is to the benches: how it is started, what its table is, how one sees that it is done."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.events import Backlog
from keepstream.app.embedded.process import ChildProcess, Program
from keepstream.sinks.postgres.migrate import migrate

HERE = Path(__file__).parent
ROOT = HERE.parent
PEER_TABLE = (HERE / "peer_table.sql").read_text(encoding="utf-8")


class MissingError(Exception):
    """The contestant cannot take part; the text says why."""


@dataclass(frozen=True)
class Course:
    """One run: where from, where to. ``schema`` is new for each run, and is the consumer group's name too."""

    bootstrap_servers: str
    url: str
    schema: str
    backlog: Backlog
    synchronous_commit: bool
    folder: Path

    def environment(self) -> dict[str, str]:
        """Return what `contestants.course` reads."""
        return {
            "PYTHONPATH": str(ROOT), "BENCH_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "BENCH_TOPIC": self.backlog.topic, "BENCH_PARTITIONS": str(self.backlog.partitions),
            "BENCH_GROUP_ID": self.schema, "BENCH_POSTGRES_URL": self.url, "BENCH_SCHEMA": self.schema,
            "BENCH_SYNCHRONOUS_COMMIT": "on" if self.synchronous_commit else "off",
        }  # fmt: skip


@dataclass(frozen=True)
class Contestant:
    """A program. ``command`` gives argv and environment of a run and raises MissingError where it cannot be had."""

    name: str
    label: str
    command: Callable[[Course], tuple[tuple[str, ...], Mapping[str, str]]]
    counts_exactly: bool = False
    """Whether it keeps keepstream's tables, whose counters the bench compares with the rows."""
    flat: bool = False
    """Whether it can only read payload and metadata as JSON strings (`events.Backlog`)."""
    processes: int = 1
    """How many run at the same time."""
    stop_signal: int = signal.SIGTERM

    def create_tables(self, connection: psycopg.Connection[Any], schema: str) -> None:
        if self.counts_exactly:
            migrate(connection, schema)
        else:
            connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(PEER_TABLE)

    def start(self, course: Course, number: int = 0) -> ChildProcess:
        """Start one process; it dies with us."""
        argv, environment = self.command(course)
        log = course.folder / f"{course.schema}-{number}.log"
        return ChildProcess(Program(self.name, argv, log, "see its log", env={**os.environ, **environment}))


def module(name: str, venv: str = "", **environment: str) -> Callable[[Course], Any]:
    """Return the command of ``contestants/NAME.py`` in ``.venv-bench-VENV``, or in keepstream's own environment."""

    def command(course: Course) -> tuple[tuple[str, ...], dict[str, str]]:
        python = ROOT / f".venv-bench-{venv}" / "bin" / "python" if venv else Path(sys.executable)
        if not python.is_file():
            raise MissingError(f"no {python.relative_to(ROOT)}: `make bench` installs it")
        return (str(python), "-m", f"benchmarks.contestants.{name}"), course.environment() | environment

    return command


def keepstream(rows: int | None = None, *, python: str = sys.executable, **settings: str) -> Callable[[Course], Any]:
    """Return the command of ``keepstream worker``: its defaults, or another number of rows per commit."""
    sizes = {} if rows is None else {
        "KEEPSTREAM_WORKER__BATCH_SIZE": str(min(rows, 100)), "KEEPSTREAM_WORKER__TRANSACTION_SIZE": str(rows),
    }  # fmt: skip

    def command(course: Course) -> tuple[tuple[str, ...], dict[str, str]]:
        environment = {
            "KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS": course.bootstrap_servers,
            "KEEPSTREAM_KAFKA__TOPIC": course.backlog.topic, "KEEPSTREAM_KAFKA__GROUP_ID": course.schema,
            "KEEPSTREAM_POSTGRES__URL": course.url, "KEEPSTREAM_POSTGRES__SCHEMA_NAME": course.schema,
            "KEEPSTREAM_POSTGRES__SYNCHRONOUS_COMMIT": str(course.synchronous_commit).lower(),
            "KEEPSTREAM_HTTP__PORT": "0", "KEEPSTREAM_LOG__FORMAT": "json", **sizes, **settings,
        }  # fmt: skip
        return (python, "-P", "-m", "keepstream.app", "worker"), environment

    return command
