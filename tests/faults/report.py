"""What each fault did: injected how often, recovered in how long, what was lost and what was counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.ledger import Reckoning
from tests.real import eventually


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
