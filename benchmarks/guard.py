"""The small bench: keepstream against the hand-written loop in under two minutes: ``make bench-guard``.

Ratios, because rates say more about the machine of the day. The guards lie well below what a quiet machine shows
(results/README.md): they are for noticing that something broke, not for measuring.
"""

from __future__ import annotations

import sys

from benchmarks.contestant import MissingError
from benchmarks.drain import VoidError, drain
from benchmarks.events import Backlog
from benchmarks.roster import FLOORS, HAND, KEEPSTREAM
from benchmarks.sitting import WARM_UP
from benchmarks.stage import open_stage

BACKLOG, POISONED = Backlog(events=60_000), Backlog(events=60_000, bad_share=0.1)
ROUNDS = 2
RATE_GUARD, FLOOR_GUARD, CPU_GUARD, POISON_GUARD = 1.5, 0.5, 2.0, 0.35


def main() -> int:
    """Return 0 when every guard holds."""
    with open_stage() as stage:
        drain(stage, KEEPSTREAM, WARM_UP)
        try:
            ours, hand, floor = (
                max((drain(stage, who, BACKLOG) for _ in range(ROUNDS)), key=lambda run: run.events_per_s)
                for who in (KEEPSTREAM, HAND[0], FLOORS[2])
            )
            poisoned = drain(stage, KEEPSTREAM, POISONED)
        except (MissingError, VoidError) as error:
            print(error, file=sys.stderr)
            return 1
    guards = {
        "rate against the hand-written loop": (ours.events_per_s / hand.events_per_s, RATE_GUARD),
        "rate against the floor": (ours.events_per_s / floor.events_per_s, FLOOR_GUARD),
        "CPU of the hand-written loop against ours": (hand.worker_cpu_us / ours.worker_cpu_us, CPU_GUARD),
        "rate with 10 % bad records against clean": (poisoned.events_per_s / ours.events_per_s, POISON_GUARD),
    }
    for name, (found, guard) in guards.items():
        print(f"{'holds' if found >= guard else 'BROKEN'}: {name}: {found:.2f} x (guard {guard:g} x)")
    return int(any(found < guard for found, guard in guards.values()))


if __name__ == "__main__":
    sys.exit(main())
