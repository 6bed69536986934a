"""``keepstream db prune``: retention."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime

import click

from keepstream.app.cli.failure import REFUSED, USAGE, CommandError
from keepstream.app.cli.output import json_option, load_settings, print_rows, say
from keepstream.app.connect.connections import connect
from keepstream.app.dlq.selectors import moment_given


@click.command(epilog="Example: keepstream db prune --older-than 90d --dry-run")
@click.option("--before", "--older-than", "before", required=True, metavar="TIME",
              help="Events older than TIME (90d, 12h or RFC 3339), by their own timestamp.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def prune(*, before: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete delivered events that are older, in small transactions. Workers may run.

    It counts first and asks. What is deleted is noted per partition, so the audit still holds. An event whose row is
    gone and that comes again counts as a new one: keep rows for longer than producers repeat themselves. Counters, dead
    letters and pending rows stay.
    """
    from keepstream.sinks.postgres import prune as retention

    moment = moment_given("--before", before)
    if moment > datetime.now(UTC):
        raise CommandError("bad_usage", "--before: this is in the future", "`keepstream db prune --help`", USAGE)
    with connect(load_settings()) as connection:
        counts = retention.prunable(connection, moment)
        total = sum(counts.values())
        say(f"{total:,} delivered events are older than {moment:%Y-%m-%dT%H:%M:%SZ}")
        if total and not dry_run:
            _ask(yes=yes)
            deleted: Counter[tuple[str, int]] = Counter()
            for batch in retention.prune(connection, moment):
                deleted += batch
            counts = dict(sorted(deleted.items()))
            say(f"{sum(counts.values()):,} rows deleted")
    name = "would_delete" if dry_run else "deleted"
    print_rows([{"topic": topic, "partition": p, name: n} for (topic, p), n in counts.items()], as_json=as_json)


def _ask(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("refused", "this deletes, and nobody is here to ask", "say --yes", REFUSED)
    if not click.confirm("Delete them?", err=True):
        raise CommandError("refused", "nothing was deleted", exit_code=REFUSED)
