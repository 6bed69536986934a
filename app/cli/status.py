"""``keepstream status`` and ``lag``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.each_topic import EachTopic, column_of
from keepstream.app.cli.output import json_option, print_json, print_rows
from keepstream.app.cli.tables import table_console
from keepstream.app.cli.topic_option import only_topic_option
from keepstream.app.cli.types import Seconds
from keepstream.app.errors import KeepstreamError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from keepstream.app.status.observer import StatusReading

SNAPSHOTS_KEPT = 120
Reports = list[tuple["StatusReading", dict[str, Any]]]
"""What was read of each topic, and its report."""


@click.command(epilog="Example: keepstream status --json | jq '.dead_letters.by_reason'")
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C.")
@click.option("--interval", "interval_s", type=Seconds(0.2, 3600), default=2.0, show_default=True,
              metavar="SECONDS", help="Time between two snapshots; rates need two.")  # fmt: skip
@only_topic_option
@json_option
def status(*, watch: bool, interval_s: float, as_json: bool) -> None:
    """Show rates, lag, time to drain, dead letters, retries, paused partitions, last errors and last replays.

    PostgreSQL, Kafka or workers that do not answer are named, and the rest is shown. Exit 4 without PostgreSQL or
    Kafka; a worker that does not answer is no error.
    """
    topics = EachTopic()
    reports = _reports(topics, interval_s)
    if watch:
        _watch(reports, as_json=as_json)
        return
    next(reports)  # rates need a second snapshot
    last = next(reports)
    if as_json:
        for _, report in last:
            print_json(report)
    else:
        console = table_console()
        console.print(_screens(last, console.width))
    _end_with_errors(topics, last)


def _reports(topics: EachTopic, interval_s: float) -> Iterator[Reports]:
    from keepstream.app.status.observer import StatusReader
    from keepstream.app.status.report import report
    from keepstream.app.status.snapshot import earlier
    from keepstream.app.status.workers import WorkerScraper

    workers = WorkerScraper(topics.services.settings.web.worker_urls, interval_s / 2 if topics.several else 0)
    readers = [StatusReader(own, workers=workers) for _, own in topics]
    names = [own.settings.kafka.topic for _, own in topics]
    snapshots = [deque[Any](maxlen=SNAPSHOTS_KEPT) for _ in names]
    with ThreadPoolExecutor(len(readers), thread_name_prefix="topics") as pool:
        while True:
            began = time.monotonic()
            readings = [*pool.map(StatusReader.read, readers)]
            for reading, known in zip(readings, snapshots, strict=True):
                known.append(reading.snapshot)
            of_each = zip(names, readings, snapshots, strict=True)
            yield [(reading, report(name, reading, earlier(known))) for name, reading, known in of_each]
            time.sleep(max(0.0, began + interval_s - time.monotonic()))


def _end_with_errors(topics: EachTopic, reports: Reports) -> None:
    """Print why a server did not answer, once where it is the same for several topics, and exit."""
    from keepstream.app.status.observer import KAFKA, WORKERS

    printed = set()
    for (topic, _), (reading, _) in zip(topics, reports, strict=True):
        for part, error in reading.missing.items():
            if part == WORKERS or error.message in printed:
                continue
            if topic is None:
                raise error
            printed.add(error.message)
            topics.failed(None if part == KAFKA else topic, error)
    topics.end()


def _screens(reports: Reports, room: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from keepstream.app.cli.status_screen import screen

    first, *others = (screen(report, room) for _, report in reports)
    return Group(first, *(part for one in others for part in (Text(), one)))


def _watch(reports: Iterator[Reports], *, as_json: bool) -> None:
    if as_json:
        for found in reports:
            for _, report in found:
                print_json(report)
        return
    from rich.live import Live

    console = table_console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for found in reports:
            live.update(_screens(found, console.width), refresh=True)


@click.command(epilog="Example: keepstream lag --max-lag 10000 || page-somebody")
@click.option("--max-lag", type=click.IntRange(min=0), help="Exit 1 when the lag of all partitions exceeds this.")
@only_topic_option
@json_option
def lag(*, max_lag: int | None, as_json: bool) -> None:
    """Show the lag of each partition: from the offset settled in PostgreSQL to the end of the log.

    ``settled`` is the offset in stream_offsets, which decides; ``committed`` is the one in Kafka, which lag tools see.
    """
    from keepstream.app.status.observer import lag_rows

    topics, rows = EachTopic(), list[dict[str, Any]]()
    for topic, own in topics:
        with topics.errors_of(topic):
            rows += [column_of(topic) | row for row in lag_rows(own)]
    print_rows(rows, as_json=as_json)
    total = sum(row["lag"] for row in rows)
    if max_lag is not None and total > max_lag:
        raise KeepstreamError("lagging", f"{total} records are not settled, more than {max_lag}")
    topics.end()
