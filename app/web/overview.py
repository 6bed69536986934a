"""The overview: status of the stream, and of several topics a row each."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from keepstream.app.status.observer import by_reason
from keepstream.app.status.snapshot import OUTCOMES, Snapshot, drain_s, duration_text, earlier, partition_rate, rate
from keepstream.app.web.context import TOPIC, Console, console_of, topic_of
from keepstream.app.web.poller import SNAPSHOTS_KEPT
from keepstream.app.web.query import Query, link_to
from keepstream.app.web.topics import TopicState

WIDTH, HEIGHT = 600, 120


@dataclass(frozen=True, slots=True)
class Chart:
    """``lines``: points of SVG polylines; ``top``: value at the upper edge; ``spoken``: text for screen readers."""

    lines: Mapping[str, str]
    top: str
    unit: str
    spoken: str


def chart_of(series: Mapping[str, Sequence[float]], unit: str) -> Chart:
    """Draw all series on one scale from zero."""
    top = _nice(max((value for values in series.values() for value in values), default=0.0))
    lines = {name: _points(values, top) for name, values in series.items()}
    spoken = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in series.items() if values)
    return Chart(lines, f"{top:,.0f}", unit, f"{unit}: {spoken or 'nothing yet'}")


def _points(values: Sequence[float], top: float) -> str:
    first = SNAPSHOTS_KEPT - len(values)
    step = WIDTH / (SNAPSHOTS_KEPT - 1)
    return " ".join(f"{(first + i) * step:.1f},{HEIGHT - value / top * HEIGHT:.1f}" for i, value in enumerate(values))


def _nice(value: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, ... that is not below the value."""
    return next(top for power in itertools.count() for top in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
                if top >= value)  # fmt: skip


routes = web.RouteTableDef()
_REASONS_SHOWN = 8
_UNKNOWN, _COUNTING = "\N{EN DASH}", "\N{HORIZONTAL ELLIPSIS}"


@routes.get("/")
async def overview(request: web.Request) -> web.StreamResponse:
    console = console_of(request)
    if console.has_several_topics and not request.query.get("topic"):
        request[TOPIC] = None
        return console.page(request, "overview_topics.html", **await _all_topics(console))
    topic = topic_of(request)
    return console.page(request, "overview.html", **await _context(topic, console.topics))


async def _all_topics(console: Console) -> dict[str, Any]:
    topics = [*console.topics.values()]
    counted = await asyncio.gather(*(topic.facets.rows(Query()) for topic in topics))
    workers = topics[0].poller.workers
    return {
        "rows": [*map(_row, topics, counted)], "not_ready": workers.not_ready,
        "answered": workers.answered, "asked": workers.asked,
    }  # fmt: skip


def _row(topic: TopicState, counted: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return what is known about a topic, and why the rest is not: figures of before an outage are not repeated."""
    poller, error = topic.poller, topic.poller.error
    snapshots = [] if error else list(poller.snapshots)
    figures = _figures(snapshots[-1] if snapshots else None, earlier(snapshots))
    unknown = _UNKNOWN if error else _COUNTING
    figures["open"] = unknown if counted is None else f"{sum(by_reason(counted).values()):,}"
    figures["paused"] = f"{poller.workers.paused:,}" if poller.workers.answered else _UNKNOWN
    links = {"link": link_to(topic.parameter, "/"), "dead_letters": link_to(topic.parameter, "/dead-letters")}
    return {"name": topic.name, "figures": figures, "error": error, "loaded": bool(snapshots), **links}


def concerning(topic: str, topics: Collection[str], not_ready: Mapping[str, str]) -> dict[str, str]:
    """Return the workers whose reason names this topic, or none of the topics."""
    return {worker: why for worker, why in not_ready.items() if topic in (_named(why, topics) or {topic})}


def _named(text: str, topics: Collection[str]) -> set[str]:
    words = {word.rstrip(".") for word in re.findall(r"[\w.-]+", text)}
    return {*topics} & (words | {word.rpartition("-")[0] for word in words})  # orders-0 is a partition


async def _context(topic: TopicState, topics: Collection[str]) -> dict[str, Any]:
    poller, rows = topic.poller, await topic.facets.rows(Query())
    counts = None if rows is None else by_reason(rows)
    reasons = None if counts is None else [*counts.items()][:_REASONS_SHOWN]
    now, before = (poller.snapshots[-1] if poller.snapshots else None), earlier(list(poller.snapshots))
    partitions = [] if now is None else [_partition(now, before, p) for p in sorted(now.ends)]
    figures = _figures(now, before)
    figures["open"] = _COUNTING if counts is None else f"{sum(counts.values()):,}"
    return {
        "figures": figures, "partitions": partitions, "reasons": reasons, "error": poller.error,
        "replays": list(now.replays) if now else [], "charts": _charts(list(poller.snapshots)), "snapshot": now,
        "outcomes": OUTCOMES, "shares": _shares(now), "most": reasons[0][1] if reasons else 0,
        "not_ready": concerning(topic.name, topics, now.workers.not_ready) if now else {},
    }  # fmt: skip


def _figures(now: Snapshot | None, before: Snapshot | None) -> dict[str, str]:
    if now is None:
        return dict.fromkeys(("in", "out", "lag", "drain", "retries", "paused", "workers", *OUTCOMES), _UNKNOWN)
    rate_in, rate_out = rate(now, before, "end_sum"), rate(now, before, "settled_sum")
    workers = now.workers
    answered = workers.answered > 0
    return {
        "in": _per_s(rate_in), "out": _per_s(rate_out),
        "lag": f"{now.lag_sum:,}", "drain": _drain(now.lag_sum, rate_out),
        "retries": f"{workers.retries:,}" if answered else _UNKNOWN,
        "paused": f"{workers.paused:,}" if answered else _UNKNOWN,
        "workers": f"{workers.answered} of {workers.asked} answer",
        **{name: f"{now.count(name):,}" for name in OUTCOMES},
    }  # fmt: skip


def _partition(now: Snapshot, before: Snapshot | None, partition: int) -> dict[str, Any]:
    stored, lag = now.settled.get(partition), now.lag(partition)
    drain = _drain(lag, partition_rate(now, before, partition))
    moved = stored.moved_at.isoformat(" ", "seconds").replace("+00:00", "Z") if stored else "never"
    return {"partition": partition, "lag": f"{lag:,}", "drain": drain, "moved": moved,
            "settled": f"{stored.next_offset:,}" if stored else _UNKNOWN}  # fmt: skip


def _shares(now: Snapshot | None) -> list[tuple[str, int, float, float]]:
    """Return (outcome, records, start of its bar, width of its bar), in percent."""
    counts = [(name, now.count(name)) for name in OUTCOMES] if now else []
    total = sum(count for _, count in counts)
    starts = itertools.accumulate((count for _, count in counts), initial=0)
    return [(name, count, round(100 * at / total, 3), round(100 * count / total, 3))
            for (name, count), at in zip(counts if total else (), starts, strict=False)]  # fmt: skip


def _charts(snapshots: Sequence[Snapshot]) -> list[Chart]:
    pairs = list(itertools.pairwise(snapshots))
    rates_in = [rate(now, before, "end_sum") or 0.0 for before, now in pairs]
    rates_out = [rate(now, before, "settled_sum") or 0.0 for before, now in pairs]
    lag = [float(now.lag_sum) for now in snapshots]
    return [
        chart_of({"in": rates_in, "out": rates_out}, "events per second"),
        chart_of({"lag": lag}, "records not settled"),
    ]


def _per_s(rate: float | None) -> str:
    return _UNKNOWN if rate is None else f"{rate:,.0f}/s"


def _drain(lag: int, per_s: float | None) -> str:
    return duration_text(drain_s(lag, per_s))
