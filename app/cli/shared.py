"""What commands have in common: settings, connections, output."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from app.cli.failure import UNREACHABLE, USAGE, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import psycopg
    from confluent_kafka.admin import AdminClient

    from app.settings import KafkaSettings, Settings

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output: one JSON object per line.")


def load_settings(overrides: Mapping[str, Mapping[str, object]] | None = None) -> Settings:
    """Read the settings; options given on the command line (``{section: {field: value}}``) win."""
    from app.settings import Settings

    given = {
        section: chosen
        for section, fields in (overrides or {}).items()
        if (chosen := {name: value for name, value in fields.items() if value is not None})
    }
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise CommandError("bad_settings", _explain(error), "`keepstream config show` explains each", USAGE) from None


def _explain(error: ValidationError) -> str:
    lines = []
    for found in error.errors(include_url=False, include_input=False):
        name = "KEEPSTREAM_" + "__".join(str(part).upper() for part in found["loc"])
        lines.append(f"{name}: {found['msg'].removeprefix('Value error, ')}")
    return "\n       ".join(lines)


@contextmanager
def connect(settings: Settings) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Open one connection in autocommit; CommandError with exit code 4 when PostgreSQL does not answer."""
    import psycopg

    postgres = settings.postgres
    options = f"-c timezone=UTC{f' -c search_path={postgres.schema_name}' if postgres.schema_name else ''}"
    try:
        connection = psycopg.connect(
            postgres.url.get_secret_value(), autocommit=True, options=options,
            connect_timeout=postgres.connect_timeout_s, application_name="keepstream cli",
        )  # fmt: skip
    except psycopg.OperationalError as error:
        raise unreachable_postgres(error) from None
    with connection:
        try:
            yield connection
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
            raise CommandError(
                "not_migrated", "tables or columns do not exist", "run `keepstream db migrate`"
            ) from None
        except psycopg.OperationalError as error:
            raise unreachable_postgres(error) from None


def unreachable_postgres(error: Exception) -> CommandError:
    """Say why without quoting the driver, whose text may hold the URL."""
    state = getattr(error, "sqlstate", None)
    why = {"28P01": "the password was refused", "28000": "the user was refused", "3D000": "there is no such database"}
    message = f"PostgreSQL cannot be reached: {why.get(state or '', 'no server answers')}"
    return CommandError("postgres_unreachable", message, "check KEEPSTREAM_POSTGRES__URL", UNREACHABLE)


def admin_client(kafka: KafkaSettings, timeout_s: float = 10.0) -> AdminClient:
    """Return an admin client of a cluster that answers; CommandError with exit code 4 when none does."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from app.clients import librdkafka_settings

    quiet = {"log_level": 0}
    admin = AdminClient({**librdkafka_settings(kafka), **quiet})
    try:
        admin.list_topics(timeout=timeout_s)
    except KafkaException:
        raise CommandError(
            "kafka_unreachable", f"Kafka cannot be reached at {kafka.bootstrap_servers}",
            "check KEEPSTREAM_KAFKA__BOOTSTRAP_SERVERS", UNREACHABLE,
        ) from None  # fmt: skip
    return admin


def print_json(row: Mapping[str, object]) -> None:
    """Write one object per line to stdout."""
    click.echo(json.dumps(row, default=_plain, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Print rows as JSON lines, or as a table."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0] if rows else ():
        table.add_column(name, justify="right" if isinstance(rows[0][name], int) else "left", overflow="fold")
    for row in rows:
        table.add_row(*["" if value is None else str(_plain(value)) for value in row.values()])
    # No markup, no emoji: values come from records, and [brackets] in them are just brackets.
    Console(highlight=False, markup=False, emoji=False).print(table)


def say(message: str) -> None:
    """Tell the person, not the pipe."""
    click.echo(message, err=True)


def on_terminal() -> bool:
    return sys.stderr.isatty()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value if isinstance(value, int | float | str | bool | dict | list) else str(value)
