"""Who takes part: each at 100 rows per commit, and at its best where that is another size."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from benchmarks.contestant import Contestant, keepstream, module
from benchmarks.contestants import connect, flink

BEST_ROWS = 1000
"""Rows per commit of a contestant at its best: what was the fastest size, or as fast as larger ones."""


def hand_written(name: str, label: str, venv: str = "") -> tuple[Contestant, Contestant]:
    """Return a program of `contestants/` at both sizes."""
    file = name.replace("-", "_")
    at_100, at_best = (module(file, venv, BENCH_BATCH_SIZE=str(rows)) for rows in (100, BEST_ROWS))
    return (
        Contestant(f"{name}-100", f"{label}, 100 rows", at_100),
        Contestant(f"{name}-{BEST_ROWS}", f"{label}, {BEST_ROWS:,} rows", at_best),
    )


def floor(rows: int, *, validated: bool) -> Contestant:
    """Return the floor, with the validate step or without."""
    step, what = ("floor-validated", "floor with the validate step") if validated else ("floor", "floor")
    environment = {"BENCH_BATCH_SIZE": str(rows), "BENCH_VALIDATE": "yes" if validated else ""}
    return Contestant(f"{step}-{rows}", f"{what}, {rows:,} rows", module("floor", **environment), counts_exactly=True)


def other_python() -> Contestant | None:
    """Return keepstream in the environment whose interpreter OTHER_PYTHON names; None without one."""
    python = os.environ.get("OTHER_PYTHON")
    if not python:
        return None
    shown = subprocess.run([python, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    command = keepstream(python=python)
    return Contestant(f"keepstream on Python {shown}", f"keepstream on Python {shown}", command, counts_exactly=True)


KEEPSTREAM = Contestant("keepstream", "keepstream, defaults: up to 1,000 rows", keepstream(), counts_exactly=True)
KEEPSTREAM_100 = Contestant("keepstream-100", "keepstream, 100 rows", keepstream(100), counts_exactly=True)
FLOORS = (floor(100, validated=False), *(floor(rows, validated=True) for rows in (100, 500, 1000)))
HAND = hand_written("hand", "hand-written loop, executemany")
RAW_JSON = hand_written("raw-json", "hand-written loop, raw JSON")
FAST_STREAM = hand_written("fast-stream", "FastStream (confluent)", "faststream")
QUIX = hand_written("quix", "Quix Streams, PostgreSQLSink", "quix")
PLAIN_FAUST = hand_written("plain-faust", "plain Faust")
CONNECT = tuple(
    Contestant(f"connect-{rows}", f"Kafka Connect + Debezium JDBC sink, 4 tasks, {rows:,} rows", connect.command(rows),
               flat=True)
    for rows in (100, BEST_ROWS)
)  # fmt: skip
FLINK = tuple(
    Contestant(f"flink-{rows}", f"Flink SQL, parallelism 2, {rows:,} rows", flink.command(rows))
    for rows in (100, BEST_ROWS)
)
OTHER_PYTHON = other_python()

ALL = (
    KEEPSTREAM, KEEPSTREAM_100, *FLOORS, *CONNECT, *FLINK, *RAW_JSON, *HAND, *FAST_STREAM, *QUIX, *PLAIN_FAUST,
    *([OTHER_PYTHON] if OTHER_PYTHON else ()),
)  # fmt: skip


def named(names: str | Iterable[str]) -> tuple[Contestant, ...]:
    """Return the contestants of a list separated by commas, all for an empty one."""
    wanted = [name for name in names.split(",") if name] if isinstance(names, str) else [*names]
    unknown = set(wanted) - {contestant.name for contestant in ALL}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in ALL)}")
    return tuple(c for c in ALL if not wanted or c.name in wanted)
