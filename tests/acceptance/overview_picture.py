"""Draw the overview's panels from what Prometheus recorded of an observed day: ``docs/overview.svg`` of the README.

A small renderer of our own, not Grafana: the queries are the dashboard's, the data are the run's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from tests.acceptance.observed_day import VARIABLES
from tests.prometheus import DEPLOY, Prometheus

COLUMNS, WIDTH, HEIGHT, PAD = 3, 400, 170, 14
COLOURS = ("#3274d9", "#e0752d", "#299c46", "#a352cc", "#d44a3a", "#8f8f8f", "#0ab5c4", "#c9a500")
MAX_SERIES = 8
DARK = (
    "<style>@media (prefers-color-scheme: dark) {svg {fill: #ccc} rect[fill='#fff'] {fill: #111} "
    "rect[fill='#eee'] {fill: #333} path[stroke='#bbb'] {stroke: #555}}</style>"
)
"""For a reader whose system is dark: the same picture with a dark background."""
Points = list[tuple[float, float]]
Mark = tuple[float, float, str]
"""(from, to, what happened), in seconds since 1970."""


def picture(prometheus: Prometheus, start: float, end: float, marks: Sequence[Mark]) -> str:
    """Return an SVG: a cell per time series or stat panel of the overview; grey bands are the marks."""
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "keepstream-overview.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] in {"timeseries", "stat"}]
    rows = math.ceil(len(panels) / COLUMNS)
    size = f'viewBox="0 0 {COLUMNS * WIDTH} {rows * HEIGHT}" font-family="sans-serif" font-size="11" fill="#333"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{DARK}<rect width="100%" height="100%" fill="#fff"/>']
    for number, panel in enumerate(panels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        series = list(_series(prometheus, panel, start, end))[:MAX_SERIES]
        parts.append(f'<g transform="translate({x},{y})">{_cell(panel, series, start, end, marks)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _series(prometheus: Prometheus, panel: dict[str, Any], start: float, end: float) -> Iterator[tuple[str, Points]]:
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        for found in prometheus.range(query, start, end):
            legend = target["legendFormat"]
            for label, value in found["metric"].items():
                legend = legend.replace(f"{{{{{label}}}}}", re.sub(r"-[0-9a-f]{12}$", "", value))  # a test's own topic
            yield legend, [(float(at), float(v)) for at, v in found["values"] if math.isfinite(float(v))]


def _cell(
    panel: dict[str, Any], series: Sequence[tuple[str, Points]], start: float, end: float, marks: Sequence[Mark]
) -> str:
    top, bottom, left, right = 26, HEIGHT - 34, PAD, WIDTH - PAD
    highest = max((value for _, points in series for _, value in points), default=0) or 1

    def x_of(at: float) -> float:
        return left + (at - start) / (end - start) * (right - left)

    scale = f"max {highest:,.3g} {_unit(panel)}"
    parts = [
        f'<text x="{PAD}" y="16" font-weight="bold">{escape(panel["title"])}</text>',
        f'<text x="{right}" y="16" text-anchor="end" fill="#888">{scale}</text>',
    ]
    for begin, until, what in marks:
        parts.append(f'<rect x="{x_of(begin):.1f}" y="{top}" width="{x_of(until) - x_of(begin):.1f}" '
                     f'height="{bottom - top}" fill="#eee"><title>{escape(what)}</title></rect>')  # fmt: skip
    parts.append(f'<path d="M{left} {bottom}H{right}" stroke="#bbb"/>')
    for (legend, points), colour in zip(series, COLOURS, strict=False):
        path = " ".join(
            f"{x_of(at):.1f},{bottom - max(0.0, value) / highest * (bottom - top):.1f}" for at, value in points
        )
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}"><title>{escape(legend)}</title></polyline>'
        )
    width = (right - left) / max(1, min(4, len(series)))
    for number, ((legend, _), colour) in enumerate(zip(series, COLOURS, strict=False)):
        x, y = left + number % 4 * width, bottom + 13 + number // 4 * 12
        parts.append(
            f'<text x="{x:.0f}" y="{y}" font-size="9" fill="{colour}">{escape(legend[: int(width / 5)])}</text>'
        )
    return "".join(parts)


def _unit(panel: dict[str, Any]) -> str:
    unit: str = panel["fieldConfig"]["defaults"]["unit"]
    return {"short": "", "percentunit": "(1 = 100 %)", "ops": "/s"}.get(unit, unit)
