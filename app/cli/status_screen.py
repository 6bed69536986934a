"""Lays out a status report for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from keepstream.app.cli.tables import table_that_fits
from keepstream.app.dlq.format import format_time, one_line
from keepstream.app.status.snapshot import OUTCOMES, duration_text

DASH = "\N{EN DASH}"
PARTITIONS_SHOWN = 8
REASONS_SHOWN = 8
TEXT_SHOWN = 80
_NUMBERS = ("attempts", "open", "selected", "replayed", "skipped", "failed")
_PARTITION_NUMBERS = ("Partition", "Settled", "End", "Lag", "Drains in")


def screen(report: Mapping[str, Any], room: int) -> RenderableType:
    """Lay out a report for so wide a terminal. Text from records is one line, its control characters escaped."""
    return Group(*_blocks(report, room))


def _blocks(report: Mapping[str, Any], room: int) -> Iterator[RenderableType]:
    yield Text(f"{report['topic']}  {format_time(report['at'], 'seconds')}", style="bold")
    for part in report["missing"]:
        yield Text(f"{part['part']} missing: {part['message']}. {_sentence(part['hint'])}", style="red")
    yield _figures(report)
    if report["lag"]:
        yield _partitions(report["lag"]["partitions"], room)
    yield from _workers(report["workers"], room)
    if report["dead_letters"] is not None:
        yield from _dead_letters(report, room)


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
    grid.add_row("Delivered", ends["delivered"], "Duplicate, stale, ignored",
                 f"{ends['duplicate']}, {ends['stale']}, {ends['ignored']}",
                 "Dead-lettered", ends["failed"])  # fmt: skip
    return grid


def _partitions(rows: list[Mapping[str, Any]], room: int) -> RenderableType:
    furthest = sorted(rows, key=lambda row: -row["lag"])[:PARTITIONS_SHOWN]
    cells = [
        {"Partition": str(row["partition"]), "Settled": _count(row.get("settled")), "End": _count(row.get("end")),
         "Lag": _count(row["lag"]), "Drains in": _drain(row), "Last moved": _time(row.get("settled_at"))}
        for row in sorted(furthest, key=lambda row: row["partition"])
    ]  # fmt: skip
    table = _spaced(table_that_fits(cells, room, _PARTITION_NUMBERS)[0])
    hidden = len(rows) - len(furthest)
    return Group(table, Text(f"{hidden} partitions with less lag: keepstream lag")) if hidden else table


def _workers(workers: Mapping[str, Any], room: int) -> Iterator[RenderableType]:
    for address, why in workers["not_ready"].items():
        yield Text(f"worker {address} is not ready: {one_line(why)}", style="yellow")
    if workers["step_failures"]:
        rows = workers["step_failures"][:REASONS_SHOWN]
        names = {"step": "Failed step", "verdict": "Verdict", "reason": "Reason", "attempts": "Attempts"}
        yield _listed(rows, names, room)


def _dead_letters(report: Mapping[str, Any], room: int) -> Iterator[RenderableType]:
    reasons = [*report["dead_letters"]["by_reason"].items()][:REASONS_SHOWN]
    if reasons:
        rows = [{"reason": reason, "open": count} for reason, count in reasons]
        yield _listed(rows, {"reason": "Dead letters: reason", "open": "Open"}, room)
    if report["last_errors"]:
        yield _listed(report["last_errors"], {
            "failed_at": "Last failed", "step": "Step", "reason": "Reason", "id": "Id", "message": "Message",
        }, room)  # fmt: skip
    if report["last_replays"]:
        yield _listed(report["last_replays"], {
            "id": "Last replays", "state": "State", "started_by": "By", "started_at": "Started", "selected": "Selected",
            "replayed": "Replayed", "skipped": "Skipped", "failed": "Failed",
        }, room)  # fmt: skip


def _listed(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], room: int) -> Table:
    shown = [{title: _cell(row[name]) for name, title in columns.items()} for row in rows]
    return _spaced(table_that_fits(shown, room, {columns[name] for name in columns if name in _NUMBERS})[0])


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return format_time(value, "seconds")
    return _count(value) if isinstance(value, int) else one_line(value, TEXT_SHOWN)


def _spaced(table: Table) -> Table:
    table.title = " "
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
