"""Counts of dead letters by step, reason and verdict, from PostgreSQL.

Counting a million rows takes longer than a page may take. So a count is shared by all pages for some seconds, and a
page waits for a running count only `MAX_WAIT_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.app.web.query import Query
from keepstream.sinks.postgres.dead_letters import UNRESOLVED, DeadLetterIndex

FRESH_S = 5.0
MAX_WAIT_S = 0.15
COUNTS_AT_ONCE = 2
_MAX_KEPT = 20
GROUPS = {"step": "steps", "reason": "reasons", "verdict": "verdicts"}
"""Facet (name of selector and column) -> field of `Selection`."""


@dataclass(frozen=True, slots=True)
class Facet:
    """One value of a facet, with its count and link."""

    value: str
    count: int
    selected: bool
    link: str


@dataclass
class Facets:
    """Cache of counts. Used on the event loop only; queries run in ``threads``."""

    services: Services
    threads: Executor
    _counts: OrderedDict[tuple[str, str], tuple[float, Any]] = field(default_factory=OrderedDict)
    _limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(COUNTS_AT_ONCE))
    _running: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)

    async def rows(self, query: Query, max_wait_s: float = MAX_WAIT_S) -> Any:  # noqa: ANN401
        """Return counts of the last seconds; older ones, or None, when counting takes longer than ``max_wait_s``."""
        key = query.first("since"), query.first("until")
        counted_at, rows = self._counts.get(key, (0.0, None))
        if rows is not None and time.monotonic() - counted_at < FRESH_S:
            return rows
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._count(key, query))
        await asyncio.wait([self._running[key]], timeout=max_wait_s)
        return self._counts.get(key, (0.0, rows))[1]

    async def _count(self, key: tuple[str, str], query: Query) -> None:
        selection, loop = query.chosen.selection, asyncio.get_running_loop()
        try:
            async with self._limit:
                rows = await loop.run_in_executor(self.threads, self._query, selection.since, selection.until)
            self._counts[key] = time.monotonic(), rows
            self._counts.move_to_end(key)
            if len(self._counts) > _MAX_KEPT:
                self._counts.popitem(last=False)
        except KeepstreamError:
            self._counts.pop(key, None)  # the page itself reports that PostgreSQL is unavailable
        finally:
            del self._running[key]

    def _query(self, since: Any, until: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        with self.services.postgres() as connection:
            return DeadLetterIndex(connection).counts(since, until)


def facets_of(query: Query, rows: Sequence[Mapping[str, Any]] | None) -> dict[str, list[Facet]] | None:
    """Return the facets of a selection, or None before the first count."""
    return None if rows is None else {name: _facet(query, name, rows) for name in GROUPS}


def matching(rows: Sequence[Mapping[str, Any]], query: Query, but: str = "") -> Counter[tuple[str, str, str]]:
    """Count the rows that match the facets' selectors, ignoring facet ``but``; keys are in the order of `GROUPS`."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        counted = query.chosen.resolved_too or row["state"] in UNRESOLVED
        if counted and all(name == but or _allows(query, name, row[name]) for name in GROUPS):
            counts[row["step"], row["reason"], row["verdict"]] += row["letters"]
    return counts


def _allows(query: Query, name: str, value: str) -> bool:
    wanted = getattr(query.chosen.selection, GROUPS[name])
    return not wanted or value in wanted


def _facet(query: Query, name: str, rows: Sequence[Mapping[str, Any]]) -> list[Facet]:
    position = [*GROUPS].index(name)
    counts: Counter[str] = Counter()
    for key, count in matching(rows, query, but=name).items():
        counts[key[position]] += count
    for value in query.values(name):
        counts.setdefault(value, 0)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Facet(value, count, query.has(name, value), query.toggled(name, value)) for value, count in ranked]
