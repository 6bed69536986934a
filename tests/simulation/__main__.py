"""Run simulated worlds: ``--seed 123`` tells the story of one, ``--seeds 100000`` runs many on all cores."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.faults import Fault
from tests.simulation.simulation import simulate

CHUNK = 500
Result = tuple[Counter[Fault], list[tuple[int, str]]]


def main() -> int:
    """Return 1 when a promise was broken, or a fault never happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell the story of this one world")
    parser.add_argument("--seeds", type=int, default=100_000, help="how many worlds to run (100000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    given = parser.parse_args()
    return _one(given.seed) if given.seed is not None else _many(range(given.first, given.first + given.seeds))


def run_seeds(seeds: Sequence[int]) -> Result:
    """Return what happened in these worlds, and the seeds that broke the promise, with what they broke."""
    fired: Counter[Fault] = Counter()
    broken = []
    for seed in seeds:
        world = simulate(seed)
        fired.update(world.fired)
        if world.violation is not None:
            broken.append((seed, f"{type(world.violation).__name__}: {world.violation}"))
    return fired, broken


def _one(seed: int) -> int:
    world = simulate(seed, story=True)
    print(*world.loop.story or (), sep="\n")
    print(f"seed {seed}: {world.violation or 'the promise holds'}")
    return int(world.violation is not None)


def _many(seeds: range) -> int:
    began, fired, broken = time.monotonic(), Counter[Fault](), list[tuple[int, str]]()
    chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, (happened, violations) in enumerate(pool.map(run_seeds, chunks), 1):
            fired.update(happened)
            broken += violations
            print(f"\r{min(done * CHUNK, len(seeds))} seeds", end="", file=sys.stderr, flush=True)
    _report(fired, broken, len(seeds), time.monotonic() - began)
    return int(bool(broken) or any(not fired[fault] for fault in Fault))


def _report(fired: Counter[Fault], broken: list[tuple[int, str]], count: int, took_s: float) -> None:
    print(file=sys.stderr)
    for fault in Fault:
        print(f"{fired[fault]:10}  {fault.name}: {fault}")
    for seed, what in broken:
        print(f"make simulate SEED={seed}   {what}")
    print(f"{count} seeds in {took_s:.0f} s ({count / took_s:.0f}/s): {len(broken)} broke the promise")


if __name__ == "__main__":
    sys.exit(main())
