"""``keepstream status`` and ``lag``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.output import json_option, load_services, print_json, print_rows
from keepstream.app.cli.tables import table_console
from keepstream.app.cli.types import Seconds
from keepstream.app.errors import KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services
    from keepstream.app.status.observer import StatusReading

SNAPSHOTS_KEPT = 120


@click.command(epilog="Example: keepstream status --json | jq '.dead_letters.by_reason'")
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C.")
@click.option("--interval", "interval_s", type=Seconds(0.2, 3600), default=2.0, show_default=True,
              metavar="SECONDS", help="Time between two snapshots; rates need two.")  # fmt: skip
@json_option
def status(*, watch: bool, interval_s: float, as_json: bool) -> None:
    """Show rates, lag, time to drain, dead letters, retries, paused partitions, last errors and last replays.

    PostgreSQL, Kafka or workers that do not answer are named, and the rest is shown. Exit 4 without PostgreSQL or
    Kafka; a worker that does not answer is no error.
    """
    reports = _reports(load_services(), interval_s)
    if watch:
        _watch(reports, as_json=as_json)
        return
    next(reports)  # rates need a second snapshot
    reading, report = next(reports)
    if as_json:
        print_json(report)
    else:
        from keepstream.app.cli.status_screen import screen

        console = table_console()
        console.print(screen(report, console.width))
    from keepstream.app.status.observer import WORKERS

    for part, error in reading.missing.items():
        if part != WORKERS:
            raise error


def _reports(services: Services, interval_s: float) -> Iterator[tuple[StatusReading, dict[str, Any]]]:
    from keepstream.app.status.observer import StatusReader
    from keepstream.app.status.report import report
    from keepstream.app.status.snapshot import earlier

    reader, snapshots = StatusReader(services), deque[Any](maxlen=SNAPSHOTS_KEPT)
    while True:
        began = time.monotonic()
        reading = reader.read()
        snapshots.append(reading.snapshot)
        yield reading, report(services.settings.kafka.topic, reading, earlier(snapshots))
        time.sleep(max(0.0, began + interval_s - time.monotonic()))


def _watch(reports: Iterator[tuple[StatusReading, dict[str, Any]]], *, as_json: bool) -> None:
    if as_json:
        for _, report in reports:
            print_json(report)
        return
    from rich.live import Live

    from keepstream.app.cli.status_screen import screen

    console = table_console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for _, report in reports:
            live.update(screen(report, console.width), refresh=True)


@click.command(epilog="Example: keepstream lag --max-lag 10000 || page-somebody")
@click.option("--max-lag", type=click.IntRange(min=0), help="Exit 1 when the lag of all partitions exceeds this.")
@json_option
def lag(*, max_lag: int | None, as_json: bool) -> None:
    """Show the lag of each partition: from the offset settled in PostgreSQL to the end of the log.

    ``settled`` is the offset in stream_offsets, which decides; ``committed`` is the one in Kafka, which lag tools see.
    """
    from keepstream.app.status.observer import lag_rows

    rows = lag_rows(load_services())
    print_rows(rows, as_json=as_json)
    total = sum(row["lag"] for row in rows)
    if max_lag is not None and total > max_lag:
        raise KeepstreamError("lagging", f"{total} records are not settled, more than {max_lag}")
