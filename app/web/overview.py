"""The first page: where the stream stands, as a page and as JSON for the page to stay up to date."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from keepstream.app.status.snapshot import OUTCOMES, Look, drain_s, duration_text, earlier, partition_rate, rate
from keepstream.app.web.context import console_of, json_answer
from keepstream.app.web.facets import matching
from keepstream.app.web.poller import Pulse
from keepstream.app.web.query import Query

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


routes = web.RouteTableDef()
PULSE: web.AppKey[Pulse] = web.AppKey("pulse", Pulse)
_REASONS_SHOWN = 8


@routes.get("/")
async def overview(request: web.Request) -> web.StreamResponse:
    seen = await _seen(request)
    return console_of(request).page(request, "overview.html", **seen, shape=_shape(seen))


@routes.get("/overview.json")
async def overview_json(request: web.Request) -> web.StreamResponse:
    """Texts by ``data-figure``, lines by ``data-line``, and what makes the page load itself anew."""
    seen = await _seen(request)
    lines = {f"{name}.{line.name}": line.points for name, chart in seen["charts"].items() for line in chart.lines}
    return json_answer({"figures": seen["figures"], "lines": lines, "shape": _shape(seen)})


def _shape(seen: dict[str, Any]) -> str:
    """Return what a page cannot change by itself: it loads anew when this changes."""
    reasons = None if seen["reasons"] is None else [reason for reason, _ in seen["reasons"]]
    runs = [(run["id"], run["state"], run["held"]) for run in seen["replays"]]
    parts = (
        len(seen["partitions"]),
        reasons,
        bool(seen["trouble"]),
        runs,
        sorted(seen["not_ready"]),
        bool(seen["shares"]),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


async def _seen(request: web.Request) -> dict[str, Any]:
    console, pulse = console_of(request), request.app[PULSE]
    rows = await console.facets.rows(Query())
    counts = matching(rows, Query()) if rows is not None else None
    reasons = None if counts is None else _by_reason(counts)
    look, before = (pulse.looks[-1] if pulse.looks else None), earlier(list(pulse.looks))
    partitions = [] if look is None else [_partition(look, before, p) for p in sorted(look.ends)]
    figures = _figures(look, before)
    for row in partitions:
        figures |= {f"partition.{row['partition']}.{name}": row[name] for name in ("settled", "lag", "drain", "moved")}
    figures |= {f"reason.{reason}": f"{letters:,}" for reason, letters in reasons or ()}
    not_ready = dict(look.workers.not_ready) if look else {}
    figures |= {f"worker.{worker}": why for worker, why in not_ready.items()}
    figures["open"] = "\N{HORIZONTAL ELLIPSIS}" if counts is None else f"{counts.total():,}"
    return {
        "figures": figures, "partitions": partitions, "reasons": reasons, "trouble": pulse.trouble,
        "replays": list(look.replays) if look else [], "charts": _charts(list(pulse.looks)), "look": look,
        "outcomes": OUTCOMES, "shares": _shares(look), "most": reasons[0][1] if reasons else 0,
        "not_ready": not_ready,
    }  # fmt: skip


def _by_reason(counts: Any) -> list[tuple[str, int]]:  # noqa: ANN401
    sums: dict[str, int] = {}
    for (_, reason, _), letters in counts.items():
        sums[reason] = sums.get(reason, 0) + letters
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:_REASONS_SHOWN]


def _figures(look: Look | None, before: Look | None) -> dict[str, str]:
    if look is None:
        return dict.fromkeys(("in", "out", "lag", "drain", "retries", "paused", "workers", *OUTCOMES), "\N{EN DASH}")
    come, gone = rate(look, before, "end_sum"), rate(look, before, "settled_sum")
    workers = look.workers
    heard = workers.answered > 0
    return {
        "in": _per_s(come), "out": _per_s(gone), "lag": f"{look.lag_sum:,}", "drain": _drain(look.lag_sum, gone),
        "retries": f"{workers.retries:,}" if heard else "\N{EN DASH}",
        "paused": f"{workers.paused:,}" if heard else "\N{EN DASH}",
        "workers": f"{workers.answered} of {workers.asked} answer",
        **{name: f"{look.count(name):,}" for name in OUTCOMES},
    }  # fmt: skip


def _partition(look: Look, before: Look | None, partition: int) -> dict[str, Any]:
    now, lag = look.settled.get(partition), look.lag(partition)
    drain = _drain(lag, partition_rate(look, before, partition))
    moved = now.moved_at.isoformat(" ", "seconds").replace("+00:00", "Z") if now else "never"
    return {"partition": partition, "lag": f"{lag:,}", "drain": drain, "moved": moved,
            "settled": f"{now.next_offset:,}" if now else "\N{EN DASH}"}  # fmt: skip


def _shares(look: Look | None) -> list[tuple[str, int, float, float]]:
    """Return (outcome, records, where its bar begins, how wide it is), in percent."""
    counts = [(name, look.count(name)) for name in OUTCOMES] if look else []
    total = sum(count for _, count in counts)
    shares, at = [], 0.0
    for name, count in counts if total else ():
        width = 100 * count / total
        shares.append((name, count, round(at, 3), round(width, 3)))
        at += width
    return shares


def _charts(looks: Sequence[Look]) -> dict[str, Chart]:
    pairs = list(itertools.pairwise(looks))
    come = [rate(now, before, "end_sum") or 0.0 for before, now in pairs]
    gone = [rate(now, before, "settled_sum") or 0.0 for before, now in pairs]
    lag = [float(look.lag_sum) for look in looks]
    return {
        "rates": chart_of({"in": come, "out": gone}, "events per second"),
        "lag": chart_of({"lag": lag}, "records not settled"),
    }


def _per_s(rate: float | None) -> str:
    return "\N{EN DASH}" if rate is None else f"{rate:,.0f}/s"


def _drain(lag: int, per_s: float | None) -> str:
    return duration_text(drain_s(lag, per_s))
