"""``keepstream status``."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from keepstream.app.cli.failure import CommandError
from keepstream.app.cli.output import json_option, load_settings, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keepstream.app.config.settings import Settings
    from keepstream.app.status.observer import Seen

    Reported = tuple[Seen, dict[str, Any]]

LOOKS_KEPT = 120
PIPE_WIDTH = 200


@click.command(epilog="Example: keepstream status --json | jq '.dead_letters.by_reason'")
@click.option("--watch", is_flag=True, help="Stay and look again, until Ctrl-C.")
@click.option("--interval", "interval_s", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True,
              metavar="SECONDS", help="Time between two looks; rates need two.")  # fmt: skip
@json_option
def status(*, watch: bool, interval_s: float, as_json: bool) -> None:
    """Show rates, lag, time to drain, dead letters, retries, holds, last errors and last replays.

    It works on what answers. Without PostgreSQL, Kafka or a worker it shows the rest and says what is missing; without
    PostgreSQL or Kafka it ends as other commands do, with 4. A worker that does not answer is no error.
    """
    settings = load_settings()
    reports = _reports(settings, interval_s)
    if watch:
        _stay(reports, as_json=as_json)
        return
    next(reports)  # rates need a second look
    seen, report = next(reports)
    if as_json:
        print_json(report)
    else:
        _console().print(_screen(report))
    _complain(seen)


def _reports(settings: Settings, interval_s: float) -> Iterator[Reported]:
    from collections import deque

    from keepstream.app.status.observer import Observer
    from keepstream.app.status.report import report
    from keepstream.app.status.snapshot import earlier

    observer, looks = Observer(settings), deque[Any](maxlen=LOOKS_KEPT)
    while True:
        began = time.monotonic()
        seen = observer.see()
        looks.append(seen.look)
        yield seen, report(settings.kafka.topic, seen, earlier(looks))
        time.sleep(max(0.0, began + interval_s - time.monotonic()))


def _stay(reports: Iterator[Reported], *, as_json: bool) -> None:
    if as_json:
        for _, report in reports:
            print_json(report)
        return
    from rich.live import Live

    console = _console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        for _, report in reports:
            live.update(_screen(report), refresh=True)


def _complain(seen: Seen) -> None:
    from keepstream.app.status.observer import WORKERS

    for part, trouble in seen.missing.items():
        if part != WORKERS:
            raise CommandError.of(trouble)


def _screen(report: dict[str, Any]) -> Any:  # noqa: ANN401 - rich's type is not imported for --help
    from keepstream.app.cli.status_view import screen

    return screen(report)


def _console() -> Any:  # noqa: ANN401
    from rich.console import Console

    # A pipe has no width; 80 would cut the ids off.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)
