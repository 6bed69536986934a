"""Reading what sittings left: medians, spreads, ratios within one round."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Figure = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A median with the least and the greatest."""

    middle: float
    least: float
    most: float

    def text(self, digits: int = 0) -> str:
        return f"{self.middle:,.{digits}f} [{self.least:,.{digits}f}-{self.most:,.{digits}f}]"


def load(results: Path, name: str) -> Figure | None:
    """Return what a sitting left, None where there was none."""
    path = results / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def spread(values: Iterable[float]) -> Spread | None:
    found = list(values)
    return Spread(median(found), min(found), max(found)) if found else None


def chosen(figures: Iterable[Figure], **about: object) -> list[Figure]:
    return [f for f in figures if all(f.get(name) == value for name, value in about.items())]


def grouped(figures: Iterable[Figure], *names: str) -> dict[tuple[Any, ...], list[Figure]]:
    groups: dict[tuple[Any, ...], list[Figure]] = defaultdict(list)
    for figure in figures:
        groups[tuple(figure[name] for name in names)].append(figure)
    return dict(groups)


def ratio(ours: Iterable[Figure], theirs: Iterable[Figure], field: str = "events_per_s") -> Spread | None:
    """Divide round by round: what disturbs a round disturbs both sides of its ratio."""
    others = {figure["round"]: figure[field] for figure in theirs}
    return spread(f[field] / others[f["round"]] for f in ours if f["round"] in others)
