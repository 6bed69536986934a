"""So many log lines of one kind per second, and no more."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = 1.0


class LineBudget:
    """What gets no line is counted, and ``tell`` is called with the number once the second is over."""

    def __init__(self, lines_per_s: int, tell: Callable[[int], None]) -> None:
        self._lines_per_s = lines_per_s
        self._tell = tell
        self._left = self._untold = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, wanted: int) -> int:
        """Return how many lines may be written now. Called on an event loop."""
        if self._timer is None:
            self._left = self._lines_per_s
            # A context of its own: the summary is of many batches, and must not carry the name of the first.
            self._timer = asyncio.get_running_loop().call_later(SECOND, self._is_over, context=Context())
        lines = min(wanted, self._left)
        self._left -= lines
        self._untold += wanted - lines
        return lines

    def _is_over(self) -> None:
        untold, self._untold, self._timer = self._untold, 0, None
        if untold:
            self._tell(untold)
