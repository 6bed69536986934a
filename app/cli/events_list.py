"""``keepstream events list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from app.cli.selectors import moment_given
from app.cli.shared import connect, json_option, load_settings, print_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

_FETCH = 1000
_LIST = """
SELECT event_id, status, created_at, updated_at, retry_count, correlation_id,
       source_topic, source_partition, source_offset
FROM events
WHERE (%(status)s::text IS NULL OR status = %(status)s)
  AND (%(correlation_id)s::text IS NULL OR correlation_id = %(correlation_id)s)
  AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR created_at < %(until)s)
ORDER BY created_at DESC, event_id LIMIT %(limit)s"""


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
    with connect(load_settings()) as connection:
        rows = _rows(connection, given)
        if as_json:
            for row in rows:
                print_json(row)
        else:
            print_rows(list(rows), as_json=False)


def _rows(connection: psycopg.Connection[tuple[Any, ...]], given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Fetch through a cursor on the server: a long list does not have to fit in memory."""
    from psycopg.rows import dict_row

    with connection.transaction(), connection.cursor("events_list", row_factory=dict_row) as cursor:
        cursor.itersize = _FETCH
        yield from cursor.execute(_LIST, given)
