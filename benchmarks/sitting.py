"""One sitting of a bench: its options, its servers, and the file its figures go to."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contestant import HERE, Contestant, MissingError
from benchmarks.drain import Run, VoidError, drain
from benchmarks.events import Backlog
from benchmarks.machine import machine
from benchmarks.roster import KEEPSTREAM
from benchmarks.stage import Stage, open_stage

FULL_EVENTS, FULL_RUNS = 300_000, 3
WARM_UP = Backlog(events=30_000)


@dataclass
class Sitting:
    """What is measured, and where to. Each figure is written at once: a sitting that is ended leaves what it has."""

    name: str
    stage: Stage
    events: int
    runs: int
    results: Path
    figures: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    def measure(
        self, contestant: Contestant, backlog: Backlog, prepare: Callable[..., None] | None = None, **about: object
    ) -> Run | None:
        """Measure one run. One that is void is reported, and the sitting goes on."""
        try:
            run = drain(self.stage, contestant, backlog, prepare)
        except (MissingError, VoidError) as error:
            self.miss(contestant.name, str(error))
            return None
        self.add(run.as_json() | about)
        return run

    def add(self, figure: dict[str, Any]) -> None:
        self.figures.append(figure)
        print(json.dumps(figure), file=sys.stderr, flush=True)
        self.save()

    def miss(self, name: str, reason: str) -> None:
        self.missing[name] = reason
        print(f"{name}: {reason}", file=sys.stderr, flush=True)
        self.save()

    def save(self) -> None:
        kept = {"events": self.events, "runs": self.runs, "machine": self.machine,
                "missing": {name: reason.splitlines()[0] for name, reason in self.missing.items()},
                "figures": self.figures}  # fmt: skip
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{self.name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def options(name: str) -> argparse.ArgumentParser:
    """Return the options that every bench knows; the environment gives the defaults, as `make` passes them."""
    parser = argparse.ArgumentParser(prog=f"benchmarks.{name}")
    parser.add_argument("--events", type=int, default=int(os.environ.get("EVENTS") or FULL_EVENTS))
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS") or FULL_RUNS))
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help="names, separated by commas")
    return parser


@contextmanager
def sitting(name: str, given: argparse.Namespace) -> Iterator[Sitting]:
    """Start the servers, warm them up, and hand out the sitting."""
    with open_stage() as stage:
        now = Sitting(name, stage, given.events, given.runs, folder(given), machine=machine(stage))
        drain(stage, KEEPSTREAM, WARM_UP)  # the broker's first minute is its slowest
        yield now


def folder(given: argparse.Namespace) -> Path:
    """Return where results go: short forms must not pass for the real thing."""
    full = given.events >= FULL_EVENTS and given.runs >= FULL_RUNS and not given.only
    return HERE / "results" / ("" if full else "short")
