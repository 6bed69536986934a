"""The goals, each with how its figure is read from the results.

``python -m benchmarks.goals`` prints each with met or not met, with the options of the sitting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.contestant import ROOT
from benchmarks.figures import Figure, Spread, chosen, grouped, load, ratio, spread
from benchmarks.roster import FLOORS, KEEPSTREAM, KEEPSTREAM_100
from benchmarks.sitting import folder, options

OURS, OURS_100, FLOOR_500 = KEEPSTREAM.name, KEEPSTREAM_100.name, FLOORS[2].name
NO_PEERS = ("keepstream", "floor")
HEADLINE = {"size_bytes": 360, "synchronous_commit": True}


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
        return f"| {self.text} | {self.wanted} | {self.measured(found)} | {self.verdict(found)} |"

    @property
    def wanted(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g} {self.unit}"

    def measured(self, found: Spread | None) -> str:
        return f"{found.text(2)} {self.unit}" if found else "not measured"

    def read(self, results: Path) -> Spread | None:
        left = load(results, self.sitting)
        return self.figure(left["figures"]) if left else None

    def verdict(self, found: Spread | None) -> str:
        if found is None:
            return "not measured"
        middle = round(found.middle, 2)
        met = middle <= self.limit if self.at_most else middle >= self.limit
        return "met" if met else "**not met**"


def against(their_rate: str, peer: str, figures: list[Figure]) -> Spread | None:
    backlog = chosen(figures, **HEADLINE)
    return ratio(chosen(backlog, contestant=OURS), chosen(backlog, contestant=peer), their_rate)


def against_fastest(rate: str, figures: list[Figure]) -> Spread | None:
    """Compare with the fastest peer, at whichever of its sizes: whole backlogs, or the halves where a JVM is warm."""
    peers = {
        name: median(run[rate] for run in runs)
        for (name,), runs in grouped(chosen(figures, **HEADLINE), "contestant").items()
        if not name.startswith(NO_PEERS)
    }
    return against(rate, max(peers, key=lambda name: peers[name]), figures) if peers else None


def ours(field: str, figures: list[Figure]) -> Spread | None:
    return spread(f[field] for f in chosen(figures, contestant=OURS, **HEADLINE))


def late(field: str, share: float, figures: list[Figure]) -> Spread | None:
    return spread(f[field] for f in chosen(figures, contestant=OURS, share=share, pinned=False))


def late_against(field: str, share: float, other: str, figures: list[Figure]) -> Spread | None:
    at_share = chosen(figures, share=share, pinned=False)
    return ratio(chosen(at_share, contestant=OURS), chosen(at_share, contestant=other), field)


def along(curve: str, x: float, x0: float, figures: list[Figure]) -> Spread | None:
    """Compare one point of a curve with another."""
    return ratio(chosen(figures, curve=curve, x=x), chosen(figures, curve=curve, x=x0))


def took(what: str, figures: list[Figure]) -> Spread | None:
    return spread(f["s"] for f in chosen(figures, what=what))


RATE, WARM = "events_per_s", "second_half_per_s"
GOALS = (
    Goal("whole backlog against the fastest peer at its best", "throughput", 1.6, partial(against_fastest, RATE)),
    Goal("its warm half against the fastest warm half of a peer", "throughput", 1.3, partial(against_fastest, WARM)),
    Goal("rate against the floor with the validate step, 500 rows", "throughput", 0.9,
         partial(against, RATE, FLOOR_500)),
    Goal("CPU of the worker per event", "throughput", 6.3, partial(ours, "worker_cpu_us"), at_most=True, unit="µs"),
    Goal("memory of the worker", "throughput", 170, partial(ours, "worker_rss_mb"), at_most=True, unit="MB"),
    Goal("rate with 1 % bad records against clean", "curves", 0.78, partial(along, "bad share", 0.01, 0.0)),
    Goal("rate with 10 % bad records against clean", "curves", 0.65, partial(along, "bad share", 0.1, 0.0)),
    Goal("p50 at a tenth of the load against a transaction per batch", "latency", 1,
         partial(late_against, "p50_ms", 0.1, OURS_100), at_most=True),
    Goal("p50 produce to commit at a tenth of the load", "latency", 10, partial(late, "p50_ms", 0.1), at_most=True,
         unit="ms"),
    Goal("p99 produce to commit at half load", "latency", 50, partial(late, "p99_ms", 0.5), at_most=True, unit="ms"),
    Goal("start to first settled event", "start", 3, partial(took, "first settled event"), at_most=True, unit="s"),
    Goal("keepstream --help", "start", 0.3, partial(took, "--help"), at_most=True, unit="s"),
)  # fmt: skip


def main(results: Path) -> None:
    print(f"\nGoals ({results.relative_to(ROOT)}/README.md has all figures)")
    for goal in GOALS:
        found = goal.read(results)
        verdict = goal.verdict(found).strip("*")
        print(f"  {verdict:<13} {goal.text}: {goal.measured(found)}, wanted {goal.wanted}")


if __name__ == "__main__":
    main(folder(options("goals").parse_args()))
