"""``keepstream db``: migrations and retention."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from keepstream.app.cli.each_topic import EachTopic, column_of
from keepstream.app.cli.options import time_option
from keepstream.app.cli.output import (
    check_confirmable,
    json_option,
    notify,
    print_rows,
    wait_option,
    wait_until_reachable,
)
from keepstream.app.cli.topic_option import only_topic_option, prefix_of
from keepstream.app.errors import REFUSED, USAGE, KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.connect.services import Services


@click.group()
def db() -> None:
    """Create, check and prune the tables in PostgreSQL."""


@db.command(epilog="Example: keepstream db prune --until 90d --dry-run")
@time_option("--until", required=True, help="Events before TIME (90d, 12h ago, or RFC 3339), by their own timestamp.")
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@only_topic_option
@json_option
def prune(*, until: datetime, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete delivered events from before TIME, in small transactions. Workers may run.

    It counts first and asks. Deletions are recorded per partition, so the accounts still balance. A duplicate of a
    deleted event counts as a new event: keep rows longer than producers may resend. Counters, dead letters and pending
    rows stay.
    """
    if until > datetime.now(UTC):
        raise KeepstreamError("bad_usage", "--until: TIME is in the future", "`keepstream db prune --help`", USAGE)
    topics, counts = EachTopic(), Counter[tuple[str, int]]()
    for topic, own in topics:
        with topics.errors_of(topic):
            counts += _prune(own, until, prefix_of(topic), dry_run=dry_run, yes=yes)
    name = "would_delete" if dry_run else "deleted"
    print_rows([{"topic": topic, "partition": p, name: n} for (topic, p), n in sorted(counts.items())], as_json=as_json)
    topics.end()


def _prune(services: Services, until: datetime, of: str, *, dry_run: bool, yes: bool) -> Counter[tuple[str, int]]:
    from keepstream.sinks.postgres import prune as retention

    with services.postgres() as connection:
        counts = Counter(retention.prunable(connection, until))
        notify(f"{of}{counts.total():,} delivered events are older than {until:%Y-%m-%dT%H:%M:%SZ}")
        if counts and not dry_run:
            check_confirmable(yes=yes)
            if not yes and not click.confirm(f"{of}Delete them?", err=True):
                raise KeepstreamError("refused", "nothing was deleted", exit_code=REFUSED)
            counts = sum(retention.prune(connection, until), Counter[tuple[str, int]]())
            notify(f"{of}{counts.total():,} rows deleted")
    return counts


@db.command(epilog="Example: keepstream db migrate --dry-run")
@click.option("--dry-run", is_flag=True, help="Print the pending migrations, and apply none.")
@wait_option
@only_topic_option
@json_option
def migrate(*, dry_run: bool, wait_s: float, as_json: bool) -> None:
    """Apply pending migrations. It is idempotent; concurrent runs wait for each other."""
    topics, rows, until = EachTopic(), list[dict[str, object]](), time.monotonic() + wait_s
    for topic, own in topics:
        with topics.errors_of(topic), _migration_errors():
            found = _migrate(own, max(0.0, until - time.monotonic()), dry_run=dry_run)
            rows += [column_of(topic) | row for row in found]
            if not found:
                notify(f"{prefix_of(topic)}the schema is up to date")
    print_rows(rows, as_json=as_json)
    topics.end()


def _migrate(services: Services, wait_s: float, *, dry_run: bool) -> list[dict[str, object]]:
    from keepstream.sinks.postgres import migrate as schema

    with ExitStack() as stack:
        connection = wait_until_reachable(lambda: stack.enter_context(services.postgres()), wait_s)
        name = services.settings.postgres.schema_name
        todo = schema.pending(connection) if dry_run else schema.migrate(connection, name)
    verb = "pending" if dry_run else "applied"
    return [{"version": m.version, "name": m.name, "state": verb} for m in todo]


@db.command(epilog="Example: keepstream db status --check || keepstream db migrate")
@click.option("--check", is_flag=True, help="Exit 1 when a migration is pending.")
@only_topic_option
@json_option
def status(*, check: bool, as_json: bool) -> None:
    """List the migrations and whether they are applied."""
    topics, rows = EachTopic(), list[dict[str, object]]()
    for topic, own in topics:
        with topics.errors_of(topic), _migration_errors():
            rows += [column_of(topic) | row for row in _status(own)]
    print_rows(rows, as_json=as_json)
    missing = [row for row in rows if row["state"] == "pending"]
    if check and missing:
        raise KeepstreamError("behind", f"{len(missing)} migrations are pending", "run `keepstream db migrate`")
    topics.end()


def _status(services: Services) -> list[dict[str, object]]:
    from keepstream.sinks.postgres import migrate as schema

    with services.postgres() as connection:
        missing = {migration.version for migration in schema.pending(connection)}
    return [
        {"version": m.version, "name": m.name, "state": "pending" if m.version in missing else "applied"}
        for m in schema.migrations()
    ]


@contextmanager
def _migration_errors() -> Iterator[None]:
    from keepstream.sinks.postgres.migrate import MigrationError

    try:
        yield
    except MigrationError as error:
        raise KeepstreamError("migration_conflict", str(error)) from None
