"""Lines as SVG: made on the server, moved by the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 600, 120
POINTS = 300
"""As many as there are looks; the newest stands at the right edge."""


@dataclass(frozen=True, slots=True)
class Line:
    """``points`` as an SVG polyline takes them."""

    name: str
    points: str


@dataclass(frozen=True, slots=True)
class Chart:
    """``top`` is what the upper edge means; ``spoken`` says the same for those who cannot see it."""

    lines: Sequence[Line]
    top: str
    unit: str
    spoken: str


def chart_of(series: Mapping[str, Sequence[float]], unit: str) -> Chart:
    """Draw all series on one scale that begins at zero."""
    top = _nice(max((value for values in series.values() for value in values), default=0.0))
    lines = [Line(name, _points(values[-POINTS:], top)) for name, values in series.items()]
    spoken = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in series.items() if values)
    return Chart(lines, f"{top:,.0f}", unit, f"{unit}: {spoken or 'nothing yet'}")


def _points(values: Sequence[float], top: float) -> str:
    first = POINTS - len(values)
    step = WIDTH / (POINTS - 1)
    return " ".join(f"{(first + i) * step:.1f},{HEIGHT - value / top * HEIGHT:.1f}" for i, value in enumerate(values))


def _nice(value: float) -> float:
    """Return the next of 1, 2, 5, 10, 20, ... that is not below."""
    top = 1.0
    while True:
        for factor in (1.0, 2.0, 5.0):
            if top * factor >= value:
                return top * factor
        top *= 10
