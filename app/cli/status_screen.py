"""Lays out a status report for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from keepstream.app.dlq.format import format_time, one_line
from keepstream.app.status.snapshot import OUTCOMES, duration_text

DASH = "\N{EN DASH}"
PARTITIONS_SHOWN = 8
REASONS_SHOWN = 8
TEXT_SHOWN = 80
_NUMBERS = ("attempts", "open", "selected", "replayed", "skipped", "failed")
_PARTITION_NUMBERS = ("Partition", "Settled", "End", "Lag", "Drains in")


def screen(report: Mapping[str, Any]) -> RenderableType:
    """Lay out a report. Text from records is one line, its control characters escaped."""
    return Group(*_blocks(report))


def _blocks(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    yield Text(f"{report['topic']}  {format_time(report['at'], 'seconds')}", style="bold")
    for part in report["missing"]:
        yield Text(f"{part['part']} missing: {part['message']}. {_sentence(part['hint'])}", style="red")
    yield _figures(report)
    if report["lag"]:
        yield _partitions(report["lag"]["partitions"])
    yield from _workers(report["workers"])
    if report["dead_letters"] is not None:
        yield from _dead_letters(report)


def _figures(report: Mapping[str, Any]) -> Table:
    rates, workers = report["rates"], report["workers"]
    lag = report["lag"] or {"total": None, "drain_s": None, "standstill": False}
    outcomes, dead_letters = report["outcomes"] or {}, report["dead_letters"] or {"open": None}
    grid = Table.grid(padding=(0, 3))
    grid.add_row("In", _per_s(rates["in_per_s"]), "Lag", _count(lag["total"]), "Oldest unsettled",
                 _age(report["oldest_unsettled_at"], report["at"]))  # fmt: skip
    grid.add_row("Out", _per_s(rates["out_per_s"]), "Time to drain", _drain(lag), "Dead letters open",
                 _count(dead_letters["open"]))  # fmt: skip
    grid.add_row("Workers", f"{workers['answered']} of {workers['asked']}", "Retries", _count(workers["retries"]),
                 "Partitions paused", _count(workers["held_partitions"]))  # fmt: skip
    ends = {name: _count(outcomes.get(name)) for name in OUTCOMES}
    grid.add_row("Delivered", ends["delivered"], "Duplicate, stale", f"{ends['duplicate']}, {ends['stale']}",
                 "Dead-lettered", ends["failed"])  # fmt: skip
    return grid


def _partitions(rows: list[Mapping[str, Any]]) -> RenderableType:
    furthest = sorted(rows, key=lambda row: -row["lag"])[:PARTITIONS_SHOWN]
    table = _table("Partition", "Settled", "End", "Lag", "Drains in", "Last moved", right=_PARTITION_NUMBERS)
    for row in sorted(furthest, key=lambda row: row["partition"]):
        table.add_row(
            str(row["partition"]), _count(row.get("settled")), _count(row.get("end")), _count(row["lag"]), _drain(row),
            _time(row.get("settled_at")),
        )  # fmt: skip
    hidden = len(rows) - len(furthest)
    return Group(table, Text(f"{hidden} partitions with less lag: keepstream lag")) if hidden else table


def _workers(workers: Mapping[str, Any]) -> Iterator[RenderableType]:
    for address, why in workers["not_ready"].items():
        yield Text(f"worker {address} is not ready: {one_line(why)}", style="yellow")
    if workers["step_failures"]:
        rows = workers["step_failures"][:REASONS_SHOWN]
        yield _listed(rows, {"step": "Failed step", "verdict": "Verdict", "reason": "Reason", "attempts": "Attempts"})


def _dead_letters(report: Mapping[str, Any]) -> Iterator[RenderableType]:
    reasons = [*report["dead_letters"]["by_reason"].items()][:REASONS_SHOWN]
    if reasons:
        rows = [{"reason": reason, "open": count} for reason, count in reasons]
        yield _listed(rows, {"reason": "Dead letters: reason", "open": "Open"})
    if report["last_errors"]:
        yield _listed(report["last_errors"], {
            "failed_at": "Last failed", "step": "Step", "reason": "Reason", "id": "Id", "message": "Message",
        })  # fmt: skip
    if report["last_replays"]:
        yield _listed(report["last_replays"], {
            "id": "Last replays", "state": "State", "started_by": "By", "started_at": "Started", "selected": "Selected",
            "replayed": "Replayed", "skipped": "Skipped", "failed": "Failed",
        })  # fmt: skip


def _listed(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    table = _table(*columns.values(), right={columns[name] for name in columns if name in _NUMBERS})
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return format_time(value, "seconds")
    return _count(value) if isinstance(value, int) else one_line(value, TEXT_SHOWN)


def _table(*names: str, right: Collection[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=" ")
    for name in names:
        last = name == names[-1]  # only it gives way when the terminal is narrow
        table.add_column(name, justify="right" if name in right else "left", no_wrap=not last, overflow="fold")
    return table


def _drain(row: Mapping[str, Any]) -> str:
    return duration_text(math.inf if row["standstill"] else row["drain_s"])


def _count(number: int | None) -> str:
    return DASH if number is None else f"{number:,}"


def _per_s(rate: float | None) -> str:
    return DASH if rate is None else f"{rate:,.0f}/s"


def _time(time: datetime | None) -> str:
    return DASH if time is None else format_time(time, "seconds")


def _age(time: datetime | None, now: datetime) -> str:
    return DASH if time is None else f"{duration_text(max(1.0, (now - time).total_seconds()))} ago"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""
