"""Counts by step, reason and verdict, from PostgreSQL's index of dead letters: the topic is never walked for them.

Counting a million rows takes longer than a page may. So a count is shared by all pages for some seconds, and a page
that finds it under way waits for it only a moment.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keepstream.app.connect.services import Services
from keepstream.app.errors import KeepstreamError
from keepstream.app.web.query import Query
from keepstream.sinks.postgres.dead_letters import UNRESOLVED, DeadLetterIndex

FRESH_S = 5.0
PATIENCE_S = 0.15
_MAX_KEPT = 20
GROUPS = {"step": "steps", "reason": "reasons", "verdict": "verdicts"}
"""Facet, which is the selector's and the column's name -> field of `Selection`."""


@dataclass(frozen=True, slots=True)
class Facet:
    """One clickable value."""

    value: str
    letters: int
    chosen: bool
    link: str


@dataclass
class Facets:
    """Used on the event loop only; counting happens in threads."""

    services: Services
    _counts: OrderedDict[tuple[str, str], tuple[float, Any]] = field(default_factory=OrderedDict)
    _few: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    _under_way: dict[tuple[str, str], asyncio.Task[None]] = field(default_factory=dict)

    async def rows(self, query: Query, patience_s: float = PATIENCE_S) -> Any:  # noqa: ANN401
        """Return counts no older than a few seconds; older ones, or None, where counting takes longer than patience."""
        key = query.first("since"), query.first("until")
        counted_at, rows = self._counts.get(key, (0.0, None))
        if rows is not None and time.monotonic() - counted_at < FRESH_S:
            return rows
        if key not in self._under_way:
            self._under_way[key] = asyncio.create_task(self._count(key, query))
        await asyncio.wait([self._under_way[key]], timeout=patience_s)
        return self._counts.get(key, (0.0, rows))[1]

    async def _count(self, key: tuple[str, str], query: Query) -> None:
        selection = query.chosen.selection
        try:
            async with self._few:
                rows = await asyncio.to_thread(self._ask, selection.since, selection.until)
            self._counts[key] = time.monotonic(), rows
            self._counts.move_to_end(key)
            if len(self._counts) > _MAX_KEPT:
                self._counts.popitem(last=False)
        except KeepstreamError:
            self._counts.pop(key, None)  # the page says by itself that PostgreSQL is away
        finally:
            del self._under_way[key]

    def _ask(self, since: Any, until: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        with self.services.postgres() as connection:
            return DeadLetterIndex(connection).counts(since, until)


def facets_of(query: Query, rows: Sequence[Mapping[str, Any]] | None) -> dict[str, list[Facet]] | None:
    """Return the facets of a selection, or None while they are counted for the first time."""
    return None if rows is None else {name: _facet(query, name, rows) for name in GROUPS}


def matching(rows: Sequence[Mapping[str, Any]], query: Query, but: str = "") -> Counter[tuple[str, str, str]]:
    """Count what the facets' selectors leave, without those of one facet; keys are in the order of `GROUPS`."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        seen = query.chosen.resolved_too or row["state"] in UNRESOLVED
        if seen and all(name == but or _allows(query, name, row[name]) for name in GROUPS):
            counts[row["step"], row["reason"], row["verdict"]] += row["letters"]
    return counts


def _allows(query: Query, name: str, value: str) -> bool:
    wanted = getattr(query.chosen.selection, GROUPS[name])
    return not wanted or value in wanted


def _facet(query: Query, name: str, rows: Sequence[Mapping[str, Any]]) -> list[Facet]:
    place = [*GROUPS].index(name)
    counts: Counter[str] = Counter()
    for key, letters in matching(rows, query, but=name).items():
        counts[key[place]] += letters
    for value in query.values(name):
        counts.setdefault(value, 0)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Facet(value, count, query.has(name, value), query.toggled(name, value)) for value, count in ranked]
