"""``keepstream db``: the schema."""

from __future__ import annotations

import click

from keepstream.app.cli.db_prune import prune
from keepstream.app.cli.failure import FAILED, CommandError
from keepstream.app.cli.output import json_option, load_settings, print_rows, say
from keepstream.app.connect.connections import connect


@click.group()
def db() -> None:
    """Create, check and prune the tables in PostgreSQL."""


db.add_command(prune)


@db.command(epilog="Example: keepstream db migrate --dry-run")
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@json_option
def migrate(*, dry_run: bool, as_json: bool) -> None:
    """Apply what is missing. Safe to run again, and from many places at once."""
    from keepstream.sinks.postgres import migrate as schema

    settings = load_settings()
    with connect(settings) as connection:
        try:
            todo = schema.pending(connection) if dry_run else schema.migrate(connection, settings.postgres.schema_name)
        except schema.MigrationError as error:
            raise CommandError("migration_conflict", str(error)) from None
    verb = "pending" if dry_run else "applied"
    print_rows([{"version": m.version, "name": m.name, "state": verb} for m in todo], as_json=as_json)
    if not todo:
        say("the schema is up to date")


@db.command(epilog="Example: keepstream db status --check || keepstream db migrate")
@click.option("--check", is_flag=True, help="Exit 1 when something is pending.")
@json_option
def status(*, check: bool, as_json: bool) -> None:
    """List the migrations and whether they are applied."""
    from keepstream.sinks.postgres import migrate as schema

    with connect(load_settings()) as connection:
        try:
            missing = {migration.version for migration in schema.pending(connection)}
        except schema.MigrationError as error:
            raise CommandError("migration_conflict", str(error)) from None
    rows = [
        {"version": m.version, "name": m.name, "state": "pending" if m.version in missing else "applied"}
        for m in schema.migrations()
    ]
    print_rows(rows, as_json=as_json)
    if check and missing:
        raise CommandError("behind", f"{len(missing)} migrations are pending", "run `keepstream db migrate`", FAILED)
