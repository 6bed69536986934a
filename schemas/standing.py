"""What the tables say about everything so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

OPEN_COUNT_LIMIT = 100_000
"""Open dead letters are counted up to here: a gauge need not cost a long scan."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Exact totals over all partitions and all workers, and the dead letters nobody has dealt with."""

    outcomes: Mapping[str, int]
    """Outcome -> records, as in `keepstream.schemas.outcome.Fate`."""
    open_letters: int
    """At most `OPEN_COUNT_LIMIT`."""
    oldest_open_at: datetime | None
    replay_outcomes: Mapping[str, int]
    """``replayed``, ``skipped``, ``failed`` -> letters, over all replays."""
