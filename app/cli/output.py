"""What commands have in common: settings, connections, output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from keepstream.app.errors import FAILED, NOT_FOUND, REFUSED, UNREACHABLE, USAGE, KeepstreamError

if TYPE_CHECKING:
    from keepstream.app.config.settings import Settings
    from keepstream.app.dlq.topic import Queue
    from keepstream.processors.replay.selection import Selection

__all__ = ["FAILED", "NOT_FOUND", "REFUSED", "UNREACHABLE", "USAGE", "CommandError"]


class CommandError(click.ClickException):
    """Printed on stderr, as JSON when the command was asked for JSON."""

    def __init__(self, code: str, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.exit_code = exit_code

    @classmethod
    def of(cls, trouble: KeepstreamError) -> CommandError:
        return cls(trouble.code, trouble.message, trouble.hint, trouble.exit_code)

    def show(self, file: IO[Any] | None = None) -> None:
        if "--json" in sys.argv:
            error = {"code": self.code, "message": self.message, "hint": self.hint}
            click.echo(json.dumps({"error": error}), file=file, err=True)
            return
        click.echo(f"Error: {self.message}", file=file, err=True)
        if self.hint:
            click.echo(f"  {self.hint}", file=file, err=True)


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output: one JSON object per line.")


def load_settings(overrides: Mapping[str, Mapping[str, object]] | None = None) -> Settings:
    """Read the settings and use the contract that they name; the command line's (``{section: {field: value}}``) win."""
    from keepstream.app.config.contract import use_own_contract
    from keepstream.app.config.settings import Settings, SettingsFileError

    given = {
        section: chosen
        for section, fields in (overrides or {}).items()
        if (chosen := {name: value for name, value in fields.items() if value is not None})
    }
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise CommandError("bad_settings", _explain(error), "`keepstream config show` explains each", USAGE) from None
    except SettingsFileError as error:
        raise CommandError("bad_settings", str(error), "`keepstream config show` lists all settings", USAGE) from None
    use_own_contract(settings)
    return settings


def _explain(error: ValidationError) -> str:
    lines = []
    for found in error.errors(include_url=False, include_input=False):
        name = "KEEPSTREAM_" + "__".join(str(part).upper() for part in found["loc"])
        lines.append(f"{name}: {found['msg'].removeprefix('Value error, ')}")
    return "\n       ".join(lines)


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


def open_dead_letter_topic(
    selection: Selection | None = None, *, with_ledger: bool = True
) -> AbstractContextManager[Queue]:
    from keepstream.app.dlq import topic

    return topic.open_dead_letter_topic(load_settings(), selection, with_ledger=with_ledger, tell=say)
