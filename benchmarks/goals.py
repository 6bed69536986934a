"""The goals, each with how its figure is read from the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, Spread, chosen, load, ratio, spread

OURS, SIZE_BYTES = "keepstream-100", 360


@dataclass(frozen=True)
class Goal:
    """``figure`` gets the figures of the sitting, and returns None where something it needs was not measured."""

    text: str
    sitting: str
    limit: float
    figure: Callable[[list[Figure]], Spread | None]
    at_most: bool = False
    unit: str = "x"

    def row(self, results: Path) -> str:
        found = self.read(results)
        sign = "<=" if self.at_most else ">="
        shown = f"{found.text(2)} {self.unit}" if found else "not measured"
        return f"| {self.text} | {sign} {self.limit:g} {self.unit} | {shown} | {self.verdict(found)} |"

    def read(self, results: Path) -> Spread | None:
        left = load(results, self.sitting)
        return self.figure(left["figures"]) if left else None

    def verdict(self, found: Spread | None) -> str:
        if found is None:
            return "not measured"
        met = found.middle <= self.limit if self.at_most else found.middle >= self.limit
        return "met" if met else "**not met**"


def against(peer: str, their_rate: str, figures: list[Figure]) -> Spread | None:
    backlog = chosen(figures, size_bytes=SIZE_BYTES)
    return ratio(chosen(backlog, contestant=OURS), chosen(backlog, contestant=peer), their_rate)


def ours(field: str, figures: list[Figure]) -> Spread | None:
    return spread(f[field] for f in chosen(figures, contestant=OURS, size_bytes=SIZE_BYTES))


def late(field: str, share: float, figures: list[Figure]) -> Spread | None:
    return spread(f[field] for f in chosen(figures, contestant=OURS, share=share))


def along(curve: str, x: float, x0: float, figures: list[Figure]) -> Spread | None:
    """Compare one point of a curve with another, by medians where one of them was measured once."""
    there, here = chosen(figures, curve=curve, x=x), chosen(figures, curve=curve, x=x0)
    base = spread(f["events_per_s"] for f in here)
    return spread(f["events_per_s"] / base.middle for f in there) if base else None


def took(what: str, figures: list[Figure]) -> Spread | None:
    return spread(f["s"] for f in chosen(figures, what=what))


RATE, WARM = "events_per_s", "second_half_per_s"
GOALS = (
    Goal("rate against Flink, parallelism 2", "throughput", 1.5, partial(against, "flink", RATE)),
    Goal("rate against Flink's warm second half", "throughput", 1.3, partial(against, "flink", WARM)),
    Goal("rate against Kafka Connect + Debezium JDBC", "throughput", 3, partial(against, "connect", RATE)),
    Goal("rate against the hand-written executemany loop", "throughput", 3, partial(against, "hand", RATE)),
    Goal("rate against plain Faust", "throughput", 10, partial(against, "plain-faust", RATE)),
    Goal("rate against the raw-JSON hand loop", "throughput", 1.6, partial(against, "raw-json", RATE)),
    Goal("rate against the floor", "throughput", 0.85, partial(against, "floor", RATE)),
    Goal("CPU of the worker per event", "throughput", 8, partial(ours, "worker_cpu_us"), at_most=True, unit="µs"),
    Goal("memory of the worker", "throughput", 150, partial(ours, "worker_rss_mb"), at_most=True, unit="MB"),
    Goal("p99 produce to commit at half load", "latency", 50, partial(late, "p99_ms", 0.5), at_most=True, unit="ms"),
    Goal("p50 produce to commit at 10 % load", "latency", 10, partial(late, "p50_ms", 0.1), at_most=True, unit="ms"),
    Goal("rate with 10 % bad records", "curves", 0.5, partial(along, "bad share", 0.1, 0.0)),
    Goal("rate at 20 M rows", "curves", 0.8, partial(along, "table rows", 20_000_000, 0)),
    Goal("start to first settled event", "start", 3, partial(took, "first settled event"), at_most=True, unit="s"),
    Goal("keepstream --help", "start", 0.3, partial(took, "--help"), at_most=True, unit="s"),
)  # fmt: skip
