"""``keepstream db``: migrations and retention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import click

from keepstream.app.cli.options import time_option
from keepstream.app.cli.output import (
    check_confirmable,
    json_option,
    load_services,
    notify,
    print_rows,
    wait_option,
    wait_until_reachable,
)
from keepstream.app.errors import REFUSED, USAGE, KeepstreamError


@click.group()
def db() -> None:
    """Create, check and prune the tables in PostgreSQL."""


@db.command(epilog="Example: keepstream db prune --until 90d --dry-run")
@time_option("--until", required=True, help="Events before TIME (90d, 12h ago, or RFC 3339), by their own timestamp.")
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def prune(*, until: datetime, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete delivered events from before TIME, in small transactions. Workers may run.

    It counts first and asks. Deletions are recorded per partition, so the accounts still balance. A duplicate of a
    deleted event counts as a new event: keep rows longer than producers may resend. Counters, dead letters and pending
    rows stay.
    """
    from keepstream.sinks.postgres import prune as retention

    if until > datetime.now(UTC):
        raise KeepstreamError("bad_usage", "--until: TIME is in the future", "`keepstream db prune --help`", USAGE)
    with load_services().postgres() as connection:
        counts = retention.prunable(connection, until)
        total = sum(counts.values())
        notify(f"{total:,} delivered events are older than {until:%Y-%m-%dT%H:%M:%SZ}")
        if total and not dry_run:
            check_confirmable(yes=yes)
            if not yes and not click.confirm("Delete them?", err=True):
                raise KeepstreamError("refused", "nothing was deleted", exit_code=REFUSED)
            counts = sum(retention.prune(connection, until), Counter[tuple[str, int]]())
            notify(f"{sum(counts.values()):,} rows deleted")
    name = "would_delete" if dry_run else "deleted"
    print_rows([{"topic": topic, "partition": p, name: n} for (topic, p), n in sorted(counts.items())], as_json=as_json)


@db.command(epilog="Example: keepstream db migrate --dry-run")
@click.option("--dry-run", is_flag=True, help="Print the pending migrations, and apply none.")
@wait_option
@json_option
def migrate(*, dry_run: bool, wait_s: float, as_json: bool) -> None:
    """Apply pending migrations. It is idempotent; concurrent runs wait for each other."""
    from keepstream.sinks.postgres import migrate as schema

    services = load_services()
    schema_name = services.settings.postgres.schema_name
    with ExitStack() as stack, _migration_errors():
        connection = wait_until_reachable(lambda: stack.enter_context(services.postgres()), wait_s)
        todo = schema.pending(connection) if dry_run else schema.migrate(connection, schema_name)
    verb = "pending" if dry_run else "applied"
    print_rows([{"version": m.version, "name": m.name, "state": verb} for m in todo], as_json=as_json)
    if not todo:
        notify("the schema is up to date")


@db.command(epilog="Example: keepstream db status --check || keepstream db migrate")
@click.option("--check", is_flag=True, help="Exit 1 when a migration is pending.")
@json_option
def status(*, check: bool, as_json: bool) -> None:
    """List the migrations and whether they are applied."""
    from keepstream.sinks.postgres import migrate as schema

    with load_services().postgres() as connection, _migration_errors():
        missing = {migration.version for migration in schema.pending(connection)}
    rows = [
        {"version": m.version, "name": m.name, "state": "pending" if m.version in missing else "applied"}
        for m in schema.migrations()
    ]
    print_rows(rows, as_json=as_json)
    if check and missing:
        raise KeepstreamError("behind", f"{len(missing)} migrations are pending", "run `keepstream db migrate`")


@contextmanager
def _migration_errors() -> Iterator[None]:
    from keepstream.sinks.postgres.migrate import MigrationError

    try:
        yield
    except MigrationError as error:
        raise KeepstreamError("migration_conflict", str(error)) from None
