"""``keepstream events list``."""

from __future__ import annotations

import click

from keepstream.app.cli.output import json_option, load_settings, print_json, print_rows
from keepstream.app.connect.connections import connect
from keepstream.app.dlq.selectors import moment_given


@click.command("list", epilog="Example: keepstream events list --status failed --since 2h --json | jq -r .event_id")
@click.option("--status", type=click.Choice(["pending", "delivered", "failed"]), help="Only these.")
@click.option("--correlation-id", metavar="TEXT", help="Only those of one correlation id.")
@click.option("--since", metavar="TIME", help="Created at or after TIME: 2h, 7d (ago), or 2026-11-24T10:00:00Z.")
@click.option("--until", metavar="TIME", help="Created before TIME.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@json_option
def list_events(
    *, status: str | None, correlation_id: str | None, since: str | None, until: str | None, limit: int, as_json: bool
) -> None:
    """List events that are stored, newest first by the event's own time. `events show` adds the payload."""
    given = {
        "status": status, "correlation_id": correlation_id, "limit": limit,
        "since": moment_given("--since", since) if since else None,
        "until": moment_given("--until", until) if until else None,
    }  # fmt: skip
    from keepstream.sinks.postgres.events import EventSearch

    with connect(load_settings()) as connection:
        rows = EventSearch(connection).matching(given)
        if as_json:
            for row in rows:
                print_json(row)
        else:
            print_rows(list(rows), as_json=False)
