"""What a replay shows: the survey before, the progress, the sum after."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.failure import FAILED, CommandError
from keepstream.app.cli.output import on_terminal, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keepstream.app.dlq.replay import Survey
    from keepstream.schemas.replay import Reconciliation, ReplayRun


def show_survey(survey: Survey, *, dry_run: bool, as_json: bool) -> None:
    if dry_run and as_json:
        print_json({
            "selected": survey.selected, "would_pass": survey.would_pass, "would_park": survey.would_park,
            "refused": dict(survey.refused), "targets": dict(survey.targets),
        })  # fmt: skip
        return
    tell = click.echo if dry_run else say
    for difference in survey.differences:
        tell(difference)
    tell(f"{survey.selected:,} selected: {survey.would_pass:,} would pass now, "
         f"{sum(survey.refused.values()):,} would not, {survey.would_park:,} would be parked")  # fmt: skip
    for why, count in survey.refused.most_common(20):
        tell(f"  {count:>7,}  {why}")


@contextmanager
def progress_of(run: ReplayRun, total: int | None) -> Iterator[Callable[[int], None]]:
    if not on_terminal():
        say(f"replay {run.id}, pass {run.pass_number}")
        yield lambda _worked: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"replay {run.id}", total=total)

        def update(worked: int) -> None:
            per_s = worked / max(time.monotonic() - started, 0.001)
            bar.update(task, completed=worked, description=f"replay {run.id}: {worked:,} letters, {per_s:,.0f}/s")

        yield update


def conclude(run: ReplayRun, result: Reconciliation, *, known: bool, as_json: bool) -> None:
    if as_json:
        print_json({
            "replay": run.id, "selected": result.selected, "replayed": result.replayed, "skipped": result.skipped,
            "failed": result.failed, "delivered": result.delivered, "dead_again": result.dead_again,
            "adds_up": result.adds_up,
        })  # fmt: skip
    else:
        if result.delivered is not None:
            click.echo(f"{result.delivered:,} delivered, {result.dead_again:,} dead again")
        click.echo(f"selected {result.selected:,} = replayed {result.replayed:,} + skipped {result.skipped:,}"
                   f" + failed {result.failed:,}")  # fmt: skip
    if not result.adds_up:
        raise CommandError("does_not_add_up", "letters are missing from the sum", f"--resume {run.id}", FAILED)
    if result.failed:
        raise CommandError("some_failed", f"{result.failed:,} were not replayed", f"--resume {run.id}", FAILED)
    if not known:
        raise CommandError("not_settled", "some outcomes are not known yet", "is a worker running?", FAILED)
