"""What each fault did: injected how often, recovered in how long, what was lost and what was counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.real import eventually


@dataclass(frozen=True, slots=True)
class Reckoning:
    """The producer's ledger against the table, the counters and the dead letter topic."""

    acknowledged: int
    missing: frozenset[str]
    """Acknowledged, and neither stored nor dead-lettered."""
    invented: frozenset[str]
    """Stored or dead-lettered, and not in the topic."""
    in_both: frozenset[str]
    counter_difference: int
    """Records counted minus records in the topic."""
    row_difference: int
    """Delivered by the counters minus rows in `events`."""
    death_difference: int
    """Failed by the counters minus different dead letters in the topic, and minus those in the table."""
    dead_for_the_environment: frozenset[str]
    """Dead letters of records that are not broken: no fault of the environment may make any."""

    @property
    def lost(self) -> int:
        return len(self.missing) + max(0, -self.counter_difference)

    @property
    def double(self) -> int:
        return len(self.in_both) + max(0, self.counter_difference) + abs(self.row_difference)

    @property
    def clean(self) -> bool:
        rest = len(self.invented) + abs(self.death_difference) + len(self.dead_for_the_environment)
        return not (self.lost or self.double or rest)


@dataclass(slots=True)
class Row:
    """One row of the report. A row that never got its reckoning is printed as open."""

    fault: str
    injected: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    reckoning: Reckoning | None = None
    _healed_at: float = 0.0

    def struck(self, times: int = 1) -> None:
        """Note that the fault was injected, and that it is over as of now."""
        self.injected += times
        self._healed_at = time.monotonic()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inject a fault that lasts for the block."""
        yield
        self.struck()

    def recovers(self, condition: Callable[[], object], timeout_s: float = 60.0, what: str = "progress") -> None:
        """Wait for the first sign of life after the fault, and note how long it took."""
        eventually(condition, timeout_s, f"{what} after: {self.fault}")
        self.recoveries_s.append(time.monotonic() - self._healed_at)

    def closes(self, reckoning: Reckoning) -> None:
        """Note the final reckoning, and fail unless it is clean and the fault really happened."""
        self.reckoning = reckoning
        assert self.injected > 0, f"never injected: {self.fault}"
        assert reckoning.clean, f"{self.fault}: {reckoning}"


ROWS: list[Row] = []


def table(rows: list[Row]) -> list[str]:
    """Return the report's lines."""
    width = max(len(row.fault) for row in rows)
    head = f"{'fault':<{width}} {'injected':>8} {'recovered in':>14} {'events':>8} {'lost':>5} {'double':>6}"
    return [head, "-" * len(head), *(_line(row, width) for row in rows)]


def _line(row: Row, width: int) -> str:
    slowest = f"{max(row.recoveries_s):.1f} s" if row.recoveries_s else "-"
    left = f"{row.fault:<{width}} {row.injected:>8} {slowest:>14}"
    if row.reckoning is None:
        return f"{left} {'open':>8}"
    found = row.reckoning
    return f"{left} {found.acknowledged:>8} {found.lost:>5} {found.double:>6}"
