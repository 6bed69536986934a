"""What an audit shows: claims, differences, the progress, the end."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.output import on_terminal, print_json, say
from keepstream.schemas.audit import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keepstream.app.status.audit import DeepAudit
    from keepstream.schemas.audit import Check, Difference

_MEANINGS = {
    Fault.MISSING: "neither stored nor dead-lettered",
    Fault.LETTER_LOST: "counted as dead-lettered, but the dead letter topic does not hold it",
    Fault.OUTDATED: "only an older version of the event is stored",
    Fault.BOTH: "stored, and dead-lettered as well",
    Fault.UNCOUNTED: "in the dead letter topic, but not counted",
}


def check_row(check: Check) -> dict[str, object]:
    return {"claim": check.claim, "topic": check.topic, "partition": check.partition, "left": check.left,
            "right": check.right, "holds": check.holds}  # fmt: skip


def show_checks(checks: Sequence[Check]) -> None:
    """Show one line per claim, and one for each partition where it does not hold."""
    for claim in dict.fromkeys(check.claim for check in checks):
        same = [check for check in checks if check.claim == claim]
        if all(check.holds for check in same):
            click.echo(f"  ok   {claim}: {sum(c.left for c in same):,} = {sum(c.right for c in same):,}")
        for check in same:
            if not check.holds:
                place = f"{check.topic}-{check.partition}: " if check.topic else ""
                click.echo(f"  OFF  {place}{claim}: {check.left:,} is not {check.right:,}")


def show_difference(difference: Difference, *, as_json: bool) -> None:
    if as_json:
        print_json({"fault": difference.fault, "topic": difference.topic, "partition": difference.partition,
                    "offset": difference.offset, "event_id": difference.event_id})  # fmt: skip
        return
    named = f" ({difference.event_id})" if difference.event_id else ""
    place = f"{difference.topic}-{difference.partition}-{difference.offset}"
    click.echo(f"  OFF  {place}{named}: {_MEANINGS[difference.fault]}")


def show_end(deep: DeepAudit, found: int, duration_s: float, *, complete: bool, as_json: bool) -> None:
    """Say how much was read; ``complete`` is False when the first difference ended it."""
    for window in deep.windows:
        if window.rewound:
            say(f"{deep.topic}-{window.partition} was re-created or truncated once: older rows and dead letters have "
                "the same offsets, so this partition is checked in part only")  # fmt: skip
    if deep.pruned_before:
        say(f"rows were pruned: events older than {deep.pruned_before:%Y-%m-%dT%H:%M:%SZ} are not looked for")
    if as_json:
        print_json({"records_read": deep.records, "letters_read": deep.letters, "differences": found,
                    "complete": complete, "duration_s": round(duration_s, 3)})  # fmt: skip
        return
    if complete:
        sign = "OFF" if found else "ok "
        click.echo(f"  {sign}  records in neither place or in both: {found:,} of {deep.records:,} read")
    else:
        click.echo("       stopped at the first difference; --all names every one")
    say(f"{deep.records:,} records and {deep.letters:,} dead letters read in {duration_s:.1f} s")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on a terminal, nothing elsewhere. Yields what is to be told: what is read, how far, of how much."""
    if not on_terminal():
        yield lambda _what, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task("where workers stand", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"reading {what}", completed=done, total=total)

        yield tell
